package machine

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"

	"troy/internal/testing/crashdisk"
)

// repair is an operation on a machine that boots nothing until it is finished, Heal or Reinstall.
type repair struct {
	rig  *rig
	old  []byte // shown before; nil: nothing
	new  []byte // shown afterwards
	run  func(Files) error
	wrap func(Files) Files
}

// What a state shows.
const (
	showsOld = 1 << iota
	showsNew
	showsNothing
)

func (r *repair) checker(d *crashdisk.Disk) *checker {
	old := r.old
	if old == nil {
		old = r.new
	}
	return newChecker(d, old, r.new)
}

// look wants a whole version, or that no reader opens the chain: neither reader, and Open says why.
func (r *repair) look(c *checker, d *crashdisk.Disk) (uint, error) {
	m, err := Open(filesOf(d))
	if errors.Is(err, ErrParentChanged) || err == nil && m.State().Reinstalling {
		if _, err := c.match(d); err == nil {
			return 0, errors.New("the naive reader opens the chain")
		}
		if _, err := vhdxPieces(d); err == nil {
			return 0, errors.New("package vhdx opens the chain")
		}
		return showsNothing, nil
	}
	if err != nil {
		return 0, err
	}
	seen, err := c.match(d)
	switch {
	case err == nil && seen == 0:
		err = errors.New("neither the old nor the new version")
	case r.old == nil:
		seen &= showsNew
	}
	return seen, err
}

// complete runs it to its end.
func (r *repair) complete(c *checker, d *crashdisk.Disk) error {
	if err := r.run(filesOf(d)); err != nil {
		return err
	}
	if seen, err := r.look(c, d); err != nil || seen&showsNew == 0 {
		return fmt.Errorf("afterwards: versions %b: %v", seen, err)
	}
	return nil
}

// crashOnce looks at a state, repairs, crashes that, and repairs again.
func (r *repair) crashOnce(c *checker, d *crashdisk.Disk, seed uint64) (uint, error) {
	seen, err := r.look(c, d)
	if err != nil {
		return 0, err
	}
	if err := r.complete(c, d); err != nil {
		return seen, fmt.Errorf("run again: %w", err)
	}
	s := d.Random(seed)
	again, err := r.look(c, s.Disk)
	if err == nil && seen&showsNew != 0 && again&showsNew == 0 {
		err = errors.New("the new version was lost")
	}
	if err == nil && seed%4 == 0 {
		err = r.complete(c, s.Disk)
	}
	if err != nil {
		err = fmt.Errorf("crashed again, %v: %w", s, err)
	}
	return seen, err
}

// crashEverywhere returns how many states showed what, and what was wrong.
func (r *repair) crashEverywhere(t *testing.T, opts crashdisk.Options) (seen map[uint]int, problems []string) {
	t.Helper()
	r.rig.disk.Start()
	files := filesOf(r.rig.disk)
	if r.wrap != nil {
		files = r.wrap(files)
	}
	must(t, r.run(files))
	seen = map[uint]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	shards := runtime.GOMAXPROCS(0)
	for shard := range shards {
		wg.Go(func() {
			o := opts
			o.Shard, o.Shards = shard, shards
			c, n := r.checker(r.rig.disk), uint64(0)
			for s := range r.rig.disk.States(o) {
				n++
				k, err := r.crashOnce(c, s.Disk, o.Seed+n)
				mu.Lock()
				seen[k]++
				if err != nil {
					problems = append(problems, fmt.Sprintf("%v: %v", s, err))
				}
				bad := len(problems)
				mu.Unlock()
				if bad > 2 {
					return
				}
			}
		})
	}
	wg.Wait()
	return seen, problems
}

func (r *repair) crashes(t *testing.T, what string, opts crashdisk.Options, least int) {
	t.Helper()
	seen, problems := r.crashEverywhere(t, opts)
	all := 0
	for _, n := range seen {
		all += n
	}
	t.Logf("%s: seed %d, %d states: %d old, %d nothing, %d new", what, opts.Seed, all, seen[showsOld], seen[showsNothing], seen[showsNew])
	for _, p := range problems {
		t.Errorf("%s: %s", what, p)
	}
	if all < least || seen[showsNothing] == 0 || seen[showsNew] == 0 {
		t.Errorf("%s: only %d states (want %d), or not every kind", what, all, least)
	}
}

// faults lets every call fail in every way, with a power cut on top.
func (r *repair) faults(t *testing.T, what string) {
	t.Helper()
	ready := r.rig.disk.Fork()
	var kinds []crashdisk.Kind
	d := ready.Fork()
	d.SetHook(func(c crashdisk.Call) (int, error) { kinds = append(kinds, c.Kind); return 0, nil })
	must(t, r.run(filesOf(d)))
	var wg sync.WaitGroup
	shards := runtime.GOMAXPROCS(0)
	for shard := range shards {
		wg.Go(func() {
			c := r.checker(ready)
			for n := 1 + shard; n <= len(kinds); n += shards {
				for _, f := range failuresOf(kinds[n-1], n) {
					if err := r.faulty(c, ready.Fork(), n, f, kinds[n-1] == crashdisk.Read); err != nil {
						t.Errorf("%s: call %d: %v, for good %v: %v", what, n, f.Fault, f.dead, err)
					}
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%s: %d calls failed", what, len(kinds))
}

// failure is a way for a call to fail; dead: and every later one with it.
type failure struct {
	crashdisk.Fault
	dead bool
}

// failuresOf is every way for a call of that kind.
func failuresOf(k crashdisk.Kind, n int) []failure {
	all := []failure{{crashdisk.IOError, false}, {crashdisk.IOError, true}}
	switch {
	case k == crashdisk.Write:
		all = append(all, failure{crashdisk.NoSpace, false}, failure{crashdisk.ShortWrite, false})
	case k == crashdisk.Read && n%8 != 0: // what a disk that is gone for good leaves is what was there before the read
		all = all[:1]
	}
	return all
}

func (r *repair) faulty(c *checker, d *crashdisk.Disk, n int, f failure, read bool) error {
	hook, hit := crashdisk.FailAt(n, f.Fault, f.dead)
	d.SetHook(hook)
	err := r.run(filesOf(d))
	d.SetHook(nil)
	if !hit() {
		return fmt.Errorf("was not hit: %v", err)
	}
	if read && err == nil { // it was got over
		return r.complete(c, d)
	}
	if err := wantFault(f.Fault, err, d.Written() == 0); err != nil {
		return err
	}
	if read && n%10 != 0 { // nothing is new but how far it came
		return nil
	}
	s := d.Random(uint64(n))
	if _, err := r.look(c, d); err != nil {
		return err
	}
	if n%6 == 0 { // most of what matters here the crash tests have
		if _, err := r.crashOnce(c, s.Disk, uint64(n)); err != nil {
			return fmt.Errorf("with a power cut, %v: %w", s, err)
		}
	}
	return r.complete(c, d)
}

// readDiskOf reads a whole disk.
func readDiskOf(r io.ReaderAt, size int64) ([]byte, error) {
	b := make([]byte, size)
	n, err := r.ReadAt(b, 0)
	if n == len(b) || err == nil {
		return b, nil
	}
	return nil, err
}
