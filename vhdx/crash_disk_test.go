package vhdx

import (
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
