package machine

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"

	"troy/internal/testing/crashdisk"
)

// TestMain trades memory for time: crash states make much garbage.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// soak multiplies the number of crash states with TROY_SOAK=1.
func soak() int {
	if os.Getenv("TROY_SOAK") == "1" {
		return 10
	}
	return 1
}

// operation is something done to a machine that is allowed to be cut off anywhere.
type operation struct {
	rig *rig
	old []byte                 // shown before
	new []byte                 // shown afterwards; may be the same
	run func(m *Machine) error // from the start
	// again completes it on a machine on which it was cut off anywhere, also before the start or
	// after the end.
	again func(m *Machine) error
	// wrap, when set, changes what the recorded run sees of its files: for orders that are broken
	// on purpose.
	wrap func(Files) Files
	// look wants the new version after each completion, not only after each fourth.
	look bool
}

// crashResult counts what crashEverywhere did.
type crashResult struct {
	mu             sync.Mutex
	states         int
	old, new       int
	crashedAgain   int
	seenBySevenZip int
	problems       []string
}

// crashEverywhere records the operation and looks at its crash states. In each, both readers must
// see the old or the new version; then the operation is run again, that is crashed too, and (every
// fourth time) the next run completes it.
func (o *operation) crashEverywhere(t *testing.T, opts crashdisk.Options) *crashResult {
	t.Helper()
	t.Logf("seed %d", opts.Seed)
	disk := o.rig.disk
	disk.Start()
	files := filesOf(disk)
	if o.wrap != nil {
		files = o.wrap(files)
	}
	m, err := Open(files)
	must(t, err)
	must(t, o.run(m))
	res := &crashResult{}
	shards := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for shard := range shards {
		wg.Go(func() { o.crashShard(t, opts, shard, shards, res) })
	}
	wg.Wait()
	return res
}

func (o *operation) crashShard(t *testing.T, opts crashdisk.Options, shard, shards int, res *crashResult) {
	opts.Shard, opts.Shards = shard, shards
	c := newChecker(o.rig.disk, o.old, o.new)
	n := 0
	for s := range o.rig.disk.States(opts) {
		n++
		seen, err := o.crashOnce(c, s, opts.Seed+uint64(n))
		zip := n%900 == 1 && err == nil && clean(s.Disk)
		res.add(s, seen, err, zip)
		if zip && !o.sevenZipAgrees(t, s.Disk) {
			res.add(s, 0, errors.New("7zz sees something else"), false)
		}
		if res.enough() {
			return
		}
	}
}

func (r *crashResult) add(s *crashdisk.State, seen uint, err error, zip bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states++
	if seen&1 != 0 {
		r.old++
	} else if seen&2 != 0 {
		r.new++
	}
	if zip {
		r.seenBySevenZip++
	}
	if err != nil {
		r.problems = append(r.problems, fmt.Sprintf("%v: %v", s, err))
		return
	}
	r.crashedAgain++
}

// enough stops a run that has found plenty.
func (r *crashResult) enough() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.problems) > 4
}

func (o *operation) sevenZipAgrees(t *testing.T, d *crashdisk.Disk) bool {
	got := sevenZip(t, unpack(t, d))
	return string(got) == string(o.old) || string(got) == string(o.new)
}

// crashOnce checks a state, recovers from it, crashes the recovery, and completes it.
func (o *operation) crashOnce(c *checker, s *crashdisk.State, seed uint64) (seen uint, err error) {
	if seen, err = c.match(s.Disk); err != nil {
		return 0, err
	}
	if seen == 0 {
		return 0, errors.New("neither the old nor the new version")
	}
	thorough := c.states%4 == 0
	if err := o.complete(c, s.Disk, thorough || o.look); err != nil {
		return seen, fmt.Errorf("recovery: %w", err)
	}
	r := s.Disk.Random(seed)
	again, err := c.match(r.Disk)
	switch {
	case err != nil:
		return seen, fmt.Errorf("crashed again, %v: %w", r, err)
	case again == 0:
		return seen, fmt.Errorf("crashed again, %v: neither the old nor the new version", r)
	case seen == 2 && again == 1:
		return seen, fmt.Errorf("crashed again, %v: the new version was lost", r)
	}
	if !thorough {
		return seen, nil
	}
	if err := o.complete(c, r.Disk, true); err != nil {
		return seen, fmt.Errorf("crashed again, %v: recovery: %w", r, err)
	}
	return seen, nil
}

// complete runs the operation to its end and, if asked, looks for the new version.
func (o *operation) complete(c *checker, d *crashdisk.Disk, look bool) error {
	m, err := Open(filesOf(d))
	if err != nil {
		return err
	}
	if err := o.again(m); err != nil {
		return err
	}
	if !look {
		return nil
	}
	if seen, err := c.match(d); err != nil || seen&2 == 0 {
		return fmt.Errorf("afterwards the disk shows versions %b: %v", seen, err)
	}
	return nil
}

func (r *crashResult) report(t *testing.T, what string, least int) {
	t.Helper()
	t.Logf("%s: %d states, %d old, %d new, %d crashed again, 7zz asked %d times", what, r.states, r.old, r.new, r.crashedAgain, r.seenBySevenZip)
	for _, p := range r.problems {
		t.Errorf("%s: %s", what, p)
	}
	if r.states < least {
		t.Errorf("%s: only %d states, want %d", what, r.states, least)
	}
}
