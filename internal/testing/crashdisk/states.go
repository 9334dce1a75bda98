package crashdisk

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"iter"
	"maps"
	"math/rand/v2"
)

// StateKind says how a crash state was made; see the package comment.
type StateKind int

// The kinds of crash states.
const (
	Prefix StateKind = iota
	Tear
	Lone
	Missing
	Subset
)

// String names the kind.
func (k StateKind) String() string {
	return [...]string{"prefix", "tear", "lone", "missing", "subset"}[k]
}

// State is a disk as it may be found after a power cut. It is valid until the loop body of States
// ends.
type State struct {
	Disk *Disk
	Kind StateKind
	Op   int    // index in Log of the call the power cut follows
	Seed uint64 // of the random choice, for the kinds that have one
}

// String describes the state so that it can be found again.
func (s *State) String() string { return fmt.Sprintf("%s at call %d, seed %d", s.Kind, s.Op, s.Seed) }

// Options bound States. The zero value gives the prefixes alone.
type Options struct {
	Tears   int    // torn states of each write of more than one sector
	Subsets int    // random states of each epoch
	Lone    bool   // also the Lone and Missing states
	Seed    uint64 // of all random choices
	Shard   int    // with Shards > 1, yield only every Shards-th state, from this one on: for concurrent loops
	Shards  int
}

// States yields the crash states of what was recorded since Start. The recording must not grow
// meanwhile.
func (d *Disk) States(o Options) iter.Seq[*State] {
	return func(yield func(*State) bool) {
		w := newWalker(d, o, yield)
		for i := range w.log {
			if !w.step(i) {
				return
			}
		}
		w.prefix(len(w.log))
		_ = w.stopped || w.epoch(len(w.log))
	}
}

// Random returns one crash state, chosen by seed among all instants and choices. The recording must
// not grow while it is used.
func (d *Disk) Random(seed uint64) *State {
	w := newWalker(d, Options{}, nil)
	r := rand.New(rand.NewPCG(seed, 4))
	at := r.IntN(len(w.log) + 1)
	for _, op := range w.log[:at] {
		if op.Sync {
			w.settle(op.File)
		} else {
			w.pending = append(w.pending, op)
		}
	}
	kind, chosen := Prefix, w.pending
	if r.IntN(3) > 0 {
		kind, chosen = Subset, w.subset(r)
	}
	return &State{Disk: w.image(chosen), Kind: kind, Op: at, Seed: seed}
}

// walker follows the log; durable holds what is on the medium for sure, pending the rest in order.
type walker struct {
	d       *Disk
	o       Options
	yield   func(*State) bool
	log     []Op
	durable map[string]*layer
	pending []Op
	seen    map[uint64]bool
	seed    maphash.Seed
	n       int
	stopped bool
}

func newWalker(d *Disk, o Options, yield func(*State) bool) *walker {
	w := &walker{d: d, o: o, yield: yield, log: d.Log(), durable: map[string]*layer{}, seen: map[uint64]bool{}, seed: maphash.MakeSeed()}
	for _, name := range d.names {
		w.durable[name] = &layer{parent: d.origin[name], pages: map[int64][]byte{}}
	}
	return w
}

// step yields the states between call i-1 and call i, then takes call i into account.
func (w *walker) step(i int) bool {
	op := w.log[i]
	if !w.prefix(i) {
		return false
	}
	if op.Sync {
		if !w.epoch(i) {
			return false
		}
		w.settle(op.File)
		return true
	}
	if !w.tears(i, op) {
		return false
	}
	w.pending = append(w.pending, op)
	return true
}

// settle moves the pending writes of a file to the medium.
func (w *walker) settle(name string) {
	kept := w.pending[:0:0]
	for _, op := range w.pending {
		if op.File == name {
			w.durable[name].write(op.Data, op.Off)
		} else {
			kept = append(kept, op)
		}
	}
	w.pending = kept
}

func (w *walker) prefix(i int) bool {
	return w.emit(Prefix, i, 0, w.pending)
}

func (w *walker) tears(i int, op Op) bool {
	sectors := len(op.Data) / SectorSize
	if sectors < 2 {
		return true
	}
	before := w.pending[:len(w.pending):len(w.pending)]
	for t := range w.o.Tears {
		var part []Op
		seed := w.o.Seed + uint64(i)<<20 + uint64(t)
		switch {
		case t%2 == 1:
			part = pick(op, rand.New(rand.NewPCG(seed, 1)))
		case t/2 < sectors-1 && sectors <= w.o.Tears/2+1:
			part = []Op{cut(op, t/2+1)}
		default:
			part = []Op{cut(op, 1+rand.New(rand.NewPCG(seed, 2)).IntN(sectors-1))}
		}
		if !w.emit(Tear, i, seed, append(before, part...)) {
			return false
		}
	}
	return true
}

// epoch yields the reordered states of everything that is pending before call i.
func (w *walker) epoch(i int) bool {
	if w.o.Lone {
		for k := range w.pending {
			rest := append(append([]Op(nil), w.pending[:k]...), w.pending[k+1:]...)
			if !w.emit(Lone, i, uint64(k), w.pending[k:k+1]) || !w.emit(Missing, i, uint64(k), rest) {
				return false
			}
		}
	}
	if len(w.pending) == 0 {
		return true
	}
	for s := range w.o.Subsets {
		seed := w.o.Seed + uint64(i)<<32 + uint64(s)
		if !w.emit(Subset, i, seed, w.subset(rand.New(rand.NewPCG(seed, 3)))) {
			return false
		}
	}
	return true
}

func (w *walker) subset(r *rand.Rand) []Op {
	keep := 0.1 + 0.8*r.Float64()
	torn := r.Float64()
	var out []Op
	for _, op := range w.pending {
		switch {
		case r.Float64() < torn:
			out = append(out, pick(op, r)...)
		case r.Float64() < keep:
			out = append(out, op)
		}
	}
	r.Shuffle(len(out), func(a, b int) { out[a], out[b] = out[b], out[a] })
	return out
}

// emit yields the durable medium plus the chosen writes, unless that was yielded before.
func (w *walker) emit(k StateKind, i int, seed uint64, chosen []Op) bool {
	if w.stopped {
		return false
	}
	if id := w.identity(i, chosen); w.seen[id] {
		return true
	} else {
		w.seen[id] = true
	}
	w.n++
	if w.o.Shards > 1 && w.n%w.o.Shards != w.o.Shard {
		return true
	}
	w.stopped = !w.yield(&State{Disk: w.image(chosen), Kind: k, Op: i, Seed: seed})
	return !w.stopped
}

// identity names a choice: the flushes passed so far and the sectors on top of them.
func (w *walker) identity(i int, chosen []Op) uint64 {
	var h maphash.Hash
	h.SetSeed(w.seed)
	var b [16]byte
	syncs := 0
	for _, op := range w.log[:i] {
		if op.Sync {
			syncs++
		}
	}
	binary.LittleEndian.PutUint64(b[:], uint64(syncs))
	h.Write(b[:8])
	var sum uint64
	for _, op := range chosen {
		for at := 0; at < len(op.Data); at += SectorSize {
			h2 := h
			binary.LittleEndian.PutUint64(b[:], uint64(op.Off)+uint64(at))
			binary.LittleEndian.PutUint64(b[8:], op.id)
			h2.Write(b[:16])
			sum += h2.Sum64()
		}
	}
	return h.Sum64() ^ sum
}

func (w *walker) image(chosen []Op) *Disk {
	nd := New()
	nd.Align, nd.bad = w.d.Align, maps.Clone(w.d.bad)
	for _, name := range w.d.names {
		f := nd.add(name, w.d.files[name].size, w.durable[name])
		f.top = &layer{parent: w.durable[name], pages: map[int64][]byte{}}
	}
	for _, op := range chosen {
		nd.files[op.File].top.write(op.Data, op.Off)
	}
	for _, name := range nd.names {
		f := nd.files[name]
		nd.origin[name] = f.top
		f.top = &layer{parent: f.top, pages: map[int64][]byte{}}
	}
	return nd
}

// cut keeps the first n sectors of a write.
func cut(op Op, n int) Op {
	op.Data = op.Data[: n*SectorSize : n*SectorSize]
	return op
}

// pick keeps a random set of the sectors of a write, in runs.
func pick(op Op, r *rand.Rand) []Op {
	var out []Op
	keep := 0.1 + 0.8*r.Float64()
	for at := 0; at < len(op.Data); at += SectorSize {
		if r.Float64() >= keep {
			continue
		}
		end := at + SectorSize
		if n := len(out) - 1; n >= 0 && out[n].Off+int64(len(out[n].Data)) == op.Off+int64(at) {
			start := int(out[n].Off - op.Off)
			out[n].Data = op.Data[start:end:end]
			continue
		}
		out = append(out, Op{File: op.File, Off: op.Off + int64(at), Data: op.Data[at:end:end], id: op.id})
	}
	return out
}
