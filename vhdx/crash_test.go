package vhdx

import (
	"context"
	"errors"
	"math/rand"
	"sync"
	"testing"
)

const sector = 512 // what a disk writes whole

// crashDisk is a storage that remembers what is durable, and what was written
// since, which a crash may lose, tear between sectors, and reorder.
type crashDisk struct {
	*memFile          // what the writer sees
	durable  *memFile // what the last Sync promised
	pending  []crashOp
	step     func() // called after each write, truncation and sync
	order    *sync.Mutex
}

// crashOp is a write, or a change of length if data is nil.
type crashOp struct {
	off  int64
	data []byte
}

func newCrashDisk(m *memFile) *crashDisk {
	return &crashDisk{memFile: m, durable: m.clone(), step: func() {}, order: &sync.Mutex{}}
}

func (d *crashDisk) WriteAt(p []byte, off int64) (int, error) {
	d.order.Lock()
	defer d.order.Unlock()
	n, err := d.memFile.WriteAt(p, off)
	d.pending = append(d.pending, crashOp{off, append([]byte{}, p...)})
	d.step()
	return n, err
}

func (d *crashDisk) Truncate(size int64) error {
	d.order.Lock()
	defer d.order.Unlock()
	d.pending = append(d.pending, crashOp{off: size})
	err := d.memFile.Truncate(size)
	d.step()
	return err
}

func (d *crashDisk) Sync() error {
	d.order.Lock()
	defer d.order.Unlock()
	for _, op := range d.pending {
		op.apply(d.durable)
	}
	d.pending = nil
	d.step()
	return nil
}

func (op *crashOp) apply(m *memFile) {
	if op.data == nil {
		m.Truncate(op.off)
		return
	}
	m.WriteAt(op.data, op.off)
}

// state returns what a crash may leave: all, nothing, a prefix torn at its
// end, some writes, or some sectors of each.
func (d *crashDisk) state(r *rand.Rand) *memFile {
	m := d.durable.over()
	mode := r.Intn(5)
	cut := len(d.pending)
	if mode == 2 {
		cut = r.Intn(len(d.pending) + 1)
	}
	for i, op := range d.pending {
		switch {
		case mode == 0, mode == 2 && i > cut, mode == 3 && r.Intn(2) == 0:
		case mode == 4 || mode == 2 && i == cut:
			op.tear(r, m, mode == 4)
		default:
			op.apply(m)
		}
	}
	return m
}

// tear applies a prefix of the sectors, or any of them.
func (op *crashOp) tear(r *rand.Rand, m *memFile, any bool) {
	if op.data == nil {
		if r.Intn(2) == 0 {
			op.apply(m)
		}
		return
	}
	stop := r.Intn(len(op.data) + 1)
	for at := 0; at < len(op.data); {
		end := min(at+int(sector-(op.off+int64(at))%sector), len(op.data))
		if any && r.Intn(3) > 0 || !any && end <= stop {
			m.WriteAt(op.data[at:end], op.off+int64(at))
		}
		at = end
	}
}

// tagged fills whole sectors with a value that tells write and place.
func tagged(tag, off, n int64) []byte {
	b := make([]byte, 0, n)
	for at := off; at < off+n; at += sector {
		for range sector / 8 {
			b = le.AppendUint64(b, uint64(tag)<<32|uint64(at/sector))
		}
	}
	return b
}

// crashModel knows which values each sector may have after a crash now.
type crashModel struct {
	allowed [][]uint64 // the last is the current one
}

func (m *crashModel) add(off, n int64, b []byte) {
	for i := int64(0); i < n; i += sector {
		v := uint64(0)
		if b != nil {
			v = le.Uint64(b[i:])
		}
		m.allowed[(off+i)/sector] = append(m.allowed[(off+i)/sector], v)
	}
}

// synced forgets everything but the current values.
func (m *crashModel) synced() {
	for i, a := range m.allowed {
		m.allowed[i] = append(a[:0], a[len(a)-1])
	}
}

// verify checks what a disk shows against the model.
func (m *crashModel) verify(t *testing.T, b []byte) (changed bool) {
	t.Helper()
	for i, allowed := range m.allowed {
		s := b[i*sector : (i+1)*sector]
		v := le.Uint64(s)
		for j := 8; j < sector; j += 8 {
			if le.Uint64(s[j:]) != v {
				t.Fatalf("sector %d is torn", i)
			}
		}
		ok := false
		for _, a := range allowed {
			ok = ok || a == v
		}
		if !ok {
			t.Fatalf("sector %d holds %#x, allowed are %#x", i, v, allowed)
		}
		changed = changed || v != allowed[0]
	}
	return changed
}

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
	for range soak(2) { // sessions
		crashSession(t, r, d, model, pf, kind)
	}
	t.Logf("%d crash states", states)
	if states < 50 {
		t.Fatal("hardly any crash state was looked at")
	}
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
			off, n = off/mib*mib, min(roundUp(n, mib), c.Size()-off/mib*mib)
		}
		switch r.Intn(6) {
		case 0:
			model.add(off, n, nil)
			must(t, c.ZeroRange(off, n))
		case 1:
			if from, to := roundUp(off, mib), (off+n)/mib*mib; kind != Fixed && from < to {
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

// TestCrashMerge crashes at every step of merges: the child over the parent
// always reads the same, and the merge can be done again.
func TestCrashMerge(t *testing.T) {
	r := seeded(t)
	for round := range soak(4) {
		size := int64(6*mib - 4096)
		base := createMem(t, &CreateOptions{Size: size, BlockSize: 2 * mib, Kind: Kind(round % 2)})
		bf := openMem(t, base, true)
		play(t, chainOf(t, bf), r, 10)
		must(t, bf.Close())
		below := []*File{}
		if round%4 >= 2 { // merge into a differencing parent
			below = append(below, openMem(t, base, false))
			base = createMem(t, &CreateOptions{Kind: Differencing, Parent: below[0], ParentPath: "g", BlockSize: 2 * mib})
			bf = openMem(t, base, true)
			play(t, chainOf(t, bf, below[0]), r, 10)
			must(t, bf.Close())
		}
		childSize := size + []int64{0, 3*mib + 512, -mib - 512}[r.Intn(3)]
		child := createMem(t, &CreateOptions{Size: childSize, Kind: Differencing, Parent: openMem(t, base, false), ParentPath: "p", BlockSize: mib})
		cf := openMem(t, child, true)
		play(t, chainOf(t, append([]*File{cf, openMem(t, base, false)}, below...)...), r, 15)
		must(t, cf.Close())
		crashMerge(t, r, child, base, below)
	}
}

func crashMerge(t *testing.T, r *rand.Rand, child, base *memFile, below []*File) {
	t.Helper()
	cd, bd := newCrashDisk(child), newCrashDisk(base)
	cd.order = bd.order // one step after the other on both
	want := readAll(t, c0(t, child, append([]*File{openMem(t, base, false)}, below...)))
	states, tick := 0, 0
	step := func() {
		if tick++; tick%5 != 0 && len(bd.pending)+len(cd.pending) > 1 {
			return
		}
		states++
		c, b := cd.state(r), bd.state(r)
		got := readAll(t, c0(t, c, append([]*File{openMem(t, b, false)}, below...)))
		sameBytes(t, "the child over the half-merged parent", got, want)
		if states%7 == 0 {
			cf, bf := openMem(t, c, true), openMem(t, b, true)
			must(t, Merge(context.Background(), cf, bf, nil))
			must(t, cf.Close())
			must(t, bf.Close())
			sameBytes(t, "the parent after the second merge", readAll(t, c0(t, b, below)), want)
			checkClean(t, b, b.size)
		}
	}
	cd.step, bd.step = step, step
	cf, err := OpenStorage(cd, cd.size, &OpenOptions{Writable: true})
	must(t, err)
	bf, err := OpenStorage(bd, bd.size, &OpenOptions{Writable: true})
	must(t, err)
	must(t, Merge(context.Background(), cf, bf, nil))
	must(t, cf.Close())
	must(t, bf.Close())
	if states < 20 {
		t.Fatalf("only %d crash states", states)
	}
}

// TestCrashRelink: a locator is the old or the new one.
func TestCrashRelink(t *testing.T) {
	r := seeded(t)
	base := createMem(t, &CreateOptions{Size: 4 * mib, BlockSize: mib})
	pf := openMem(t, base, false)
	for range soak(20) {
		d := newCrashDisk(createMem(t, &CreateOptions{Kind: Differencing, Parent: pf, ParentPath: `.\old.vhdx`}))
		f, err := OpenStorage(d, d.size, &OpenOptions{Writable: true})
		must(t, err)
		long := string(make([]rune, 0))
		for range r.Intn(3000) { // may cross pages, may need another place
			long += "x"
		}
		seen := map[string]bool{}
		d.step = func() {
			st := d.state(r)
			f, err := NewFile(st, st.size)
			must(t, err)
			v, _ := f.Metadata().ParentLocator.Get(KeyRelativePath)
			if v != `.\old.vhdx` && v != `.\new.vhdx`+long {
				t.Fatalf("relative_path %q", v)
			}
			seen[v] = true
		}
		must(t, Relink(f, &RelinkOptions{RelativePath: "./new.vhdx" + long}))
		must(t, f.Close())
		if len(seen) != 2 {
			t.Fatalf("seen only %d locators", len(seen))
		}
	}
}

// TestCrashCreate: a disk that was not finished is no VHDX, or is empty and
// sound; what stood there before does not come back.
func TestCrashCreate(t *testing.T) {
	r := seeded(t)
	for _, kind := range []Kind{Dynamic, Fixed} {
		old := createMem(t, &CreateOptions{Size: 4 * mib, BlockSize: mib, Kind: Fixed})
		f := openMem(t, old, true)
		_, err := chainOf(t, f).WriteAt(randomBytes(r, 4*mib), 0)
		must(t, err)
		must(t, f.Close())
		d := newCrashDisk(old)
		complete := 0
		d.step = func() {
			st := d.state(r)
			f, err := NewFile(st, st.size)
			if errors.Is(err, ErrCorrupt) {
				return
			}
			must(t, err)
			if f.Creator() == "old" || f.geo.VirtualDiskSize == 4*mib {
				return // nothing has happened yet
			}
			complete++
			if !isZero(readAll(t, chainOf(t, f))) {
				t.Fatal("a new disk shows old content")
			}
			checkNoErrors(t, st)
		}
		// Without Truncate: the space is what it is.
		f, err = CreateStorage(noTruncate{d}, &CreateOptions{Size: 3 * mib, BlockSize: mib, Kind: kind})
		must(t, err)
		if complete == 0 {
			t.Fatal("no complete state was seen")
		}
		if !isZero(readAll(t, chainOf(t, f))) {
			t.Fatal("a new disk shows old content")
		}
	}
}

// noTruncate hides Truncate.
type noTruncate struct{ Storage }

func checkNoErrors(t testing.TB, m *memFile) {
	t.Helper()
	rep, err := Check(m, m.size, nil)
	must(t, err)
	for _, f := range rep.Findings {
		if f.Severity == Error {
			t.Fatalf("Check: %v", f)
		}
	}
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
		if tick++; tick%40 != 0 && len(d.pending) > 0 {
			return
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
	for i := range soak(700) {
		off := r.Int63n(c.Size()) / sector * sector
		written[off] = true
		_, err := c.WriteAt(tagged(1, off, sector), off)
		must(t, err)
		if i%200 == 199 {
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
