package vhdx

import (
	"math/rand"
	"testing"

	"troy/internal/block"
)

// TestCrashWrites crashes at every write of random sessions: what was synced is
// there, everything else is old or new, and the file is sound.
func TestCrashWrites(t *testing.T) {
	for _, kind := range []Kind{Dynamic, Fixed, Differencing} {
		t.Run(kind.String(), func(t *testing.T) { testCrashWrites(t, kind) })
	}
}

func testCrashWrites(t *testing.T, kind Kind) {
	r := seeded(t)
	const size = 6*mib - 4096
	parent := createMem(t, &CreateOptions{Size: size, BlockSize: mib})
	pf := openMem(t, parent, true)
	_, err := chainOf(t, pf).WriteAt(tagged(1, 0, size), 0)
	must(t, err)
	must(t, pf.Sync())
	o := &CreateOptions{Size: size, Kind: kind, BlockSize: mib}
	model := &crashModel{allowed: make([][]uint64, size/sector)}
	if kind == Differencing {
		o.Parent, o.ParentPath = pf, "p"
		model.add(0, size, tagged(1, 0, size))
	} else {
		model.add(0, size, nil)
	}
	d := newCrashDisk(createMem(t, o))
	first := openMem(t, d.durable, false).Header()
	states, tick := 0, 0
	d.step = func() {
		if tick++; tick%2 != 0 && len(d.pending) > 1 {
			return
		}
		states++
		st := d.state(r)
		f, err := NewFile(st, st.size)
		must(t, err)
		fs := []*File{f}
		if kind == Differencing {
			fs = append(fs, pf)
		}
		got := readAll(t, chainOf(t, fs...))
		changed := model.verify(t, got)
		if h := f.Header(); changed && h.DataWriteGUID == first.DataWriteGUID {
			t.Fatal("the content changed under the old DataWriteGuid")
		}
		if states%8 == 0 {
			crashDuringReplay(t, r, st, got, fs[1:])
		}
	}
	sessions := 0
	for sessions < soak(2) || states < 50 { // how many states a session has is up to its dice
		if sessions++; sessions > soak(2)+20 {
			t.Fatalf("hardly any crash state was looked at: %d", states)
		}
		crashSession(t, r, d, model, pf, kind)
	}
	t.Logf("%d crash states in %d sessions", states, sessions)
}

// crashSession makes random changes in one session.
func crashSession(t *testing.T, r *rand.Rand, d *crashDisk, model *crashModel, pf *File, kind Kind) {
	t.Helper()
	f, err := OpenStorage(d, d.size, &OpenOptions{Writable: true})
	must(t, err)
	fs := []*File{f}
	if kind == Differencing {
		fs = append(fs, pf)
	}
	c := chainOf(t, fs...)
	for range 40 {
		off := r.Int63n(c.Size()) / sector * sector
		n := min((r.Int63n(2*mib)+sector)/sector*sector, c.Size()-off)
		if r.Intn(2) == 0 {
			n = min(n, (1+r.Int63n(20))*sector)
		}
		if r.Intn(4) == 0 { // whole blocks
			off, n = off/mib*mib, min(block.RoundUp(n, mib), c.Size()-off/mib*mib)
		}
		switch r.Intn(6) {
		case 0:
			model.add(off, n, nil)
			must(t, c.ZeroRange(off, n))
		case 1:
			if from, to := block.RoundUp(off, mib), (off+n)/mib*mib; kind != Fixed && from < to {
				model.add(from, to-from, nil)
				must(t, c.TrimRange(from, to-from))
			}
		case 2:
			must(t, c.Sync())
			model.synced()
		default:
			b := tagged(r.Int63n(1<<30)+2, off, n)
			model.add(off, n, b)
			_, err := c.WriteAt(b, off)
			must(t, err)
		}
	}
	must(t, f.Close())
	model.synced()
	model.verify(t, readAll(t, c0(t, d.memFile, fs[1:])))
	if h := openMem(t, d.memFile, false).Header(); !h.LogGUID.IsZero() {
		t.Fatal("the log is open after Close")
	}
}

func c0(t testing.TB, m *memFile, below []*File) *Chain {
	t.Helper()
	return chainOf(t, append([]*File{openMem(t, m, false)}, below...)...)
}

// crashDuringReplay opens a crashed file for writing and crashes again while
// the log is being replayed: the disk shows the same in every state.
func crashDuringReplay(t *testing.T, r *rand.Rand, st *memFile, want []byte, below []*File) {
	t.Helper()
	rep, err := Check(st, st.size, nil)
	must(t, err)
	for _, f := range rep.Findings {
		if f.Severity == Error {
			t.Fatalf("Check: %v", f)
		}
	}
	d := newCrashDisk(st.over())
	d.durable = st.over()
	n := 0
	d.step = func() {
		if n++; n > 6 {
			return
		}
		s := d.state(r)
		sameBytes(t, "crash during replay", readAll(t, c0(t, s, below)), want)
	}
	f, err := OpenStorage(d, d.size, &OpenOptions{Writable: true})
	must(t, err)
	must(t, f.Close())
	sameBytes(t, "after replay", readAll(t, c0(t, d.memFile, below)), want)
	checkClean(t, d.memFile, d.memFile.size)
}

// TestCrashLogPressure fills the log many times over: at no instant may the
// header name a log without a valid sequence, also when it wraps.
func TestCrashLogPressure(t *testing.T) {
	r := seeded(t)
	base := createMem(t, &CreateOptions{Size: 64 * gib, BlockSize: 256 * mib})
	pf := openMem(t, base, false)
	d := newCrashDisk(createMem(t, &CreateOptions{Kind: Differencing, Parent: pf, ParentPath: "p", BlockSize: 16 * mib}))
	f, err := OpenStorage(d, d.size, &OpenOptions{Writable: true})
	must(t, err)
	c := chainOf(t, f, pf)
	written := map[int64]bool{}
	tick, entries := 0, uint64(0)
	d.step = func() {
		inLog := len(d.pending) > 0 && d.pending[len(d.pending)-1].off/mib == 1
		if tick++; tick%40 != 0 && len(d.pending) > 0 && !inLog {
			return
		}
		for range 4 { // each a state of its own
			st := d.state(r)
			_, err := NewFile(st, st.size)
			must(t, err)
		}
		st := d.state(r)
		f, err := NewFile(st, st.size)
		must(t, err)
		v := chainOf(t, f, pf)
		got := make([]byte, sector)
		for off := range written {
			_, err := v.ReadAt(got, off)
			must(t, err)
			if x := le.Uint64(got); x != 0 && x != 1<<32|uint64(off/sector) {
				t.Fatalf("at %#x: %#x", off, x)
			}
			if r.Intn(20) == 0 {
				break
			}
		}
	}
	for i := range soak(900) {
		off := r.Int63n(c.Size()) / sector * sector
		written[off] = true
		_, err := c.WriteAt(tagged(1, off, sector), off)
		must(t, err)
		if i%300 == 299 {
			must(t, c.Sync())
		}
		entries = f.w.seq
	}
	if entries < 5 {
		t.Fatalf("only %d log entries were written", entries)
	}
	must(t, f.Close())
	v := c0(t, d.memFile, []*File{pf})
	got := make([]byte, sector)
	for off := range written {
		_, err := v.ReadAt(got, off)
		must(t, err)
		sameBytes(t, "at the end", got, tagged(1, off, sector))
	}
}
