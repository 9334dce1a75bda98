package rooms

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"troy/server/protocol"
	"troy/server/state"
)

// TestKilledUnderLoad kills the server ten times while machines check in and report as fast as they
// can: no order and no report that was acknowledged is lost. With TROY_SOAK=1 it is a thousand
// machines that do what machines do, and a minute.
func TestKilledUnderLoad(t *testing.T) {
	if os.Getenv("TROY_SOAK") == "1" {
		killedAtNight(t, 1000, 10, time.Minute)
		return
	}
	const machines = 40
	f := newFarm(t, machines)
	f.start()
	defer func() { f.kill() }()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var orders, reports [machines]int // the last one acknowledged
	for i := range machines {
		p := f.pc(i)
		wg.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				var o protocol.Order
				if p.post(protocol.PathCheckIn, protocol.CheckIn{Protocol: protocol.Version, Machine: p.id, Image: "win11", Version: 1, Memory: int64(n)}, &o) == nil {
					orders[i] = n
				}
				r := protocol.Report{Protocol: protocol.Version, ID: strconv.Itoa(n), Machine: p.id, Image: "win11", Version: 1, ExitCode: n, Outcome: protocol.OutcomeFailed, Log: fmt.Sprint("log ", n)}
				if p.post(protocol.PathReport, r, &protocol.Ack{}) == nil {
					reports[i] = n
				} else {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	for range 10 {
		time.Sleep(200*time.Millisecond + rand.N(200*time.Millisecond))
		f.kill()
		f.start() // at the address it had
	}
	close(stop)
	wg.Wait()
	f.kill()
	st, err := state.Open(filepath.Join(f.dir, "state.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	total := 0
	for i := range machines {
		m := recordOf(st, machine(i))
		if m == nil || m.CheckIn.Memory < int64(orders[i]) || m.Report == nil || m.Report.ExitCode < reports[i] {
			t.Errorf("machine %d: order %d and report %d were acknowledged, kept is %+v", i, orders[i], reports[i], m)
			continue
		}
		log, _, err := st.Log(m.ID)
		if err != nil || log != fmt.Sprint("log ", m.Report.ExitCode) {
			t.Errorf("machine %d: the log is %q, the report %d", i, log, m.Report.ExitCode)
		}
		total += orders[i]
	}
	if total < machines*10 {
		t.Errorf("only %d orders in ten rounds: the load was none", total)
	}
	t.Logf("about %d orders and reports, none lost", total)
}

// nightWork is how many seconds each deployment of killedAtNight takes.
const nightWork = 3

// sleeper is a machine of killedAtNight. It asks again when it gets no answer, as the agent does,
// with the same message.
type sleeper struct {
	*pc
	crowd          *crowd
	order, reports int // the last ones that were acknowledged
}

// crowd is what the machines of killedAtNight have in common.
type crowd struct {
	stop                              chan struct{}
	orders, reports, progress, missed atomic.Int64
	fetched                           atomic.Int64 // bytes
}

func (c *crowd) over() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// until tries a call until it is answered. It gives up when all is over.
func (s *sleeper) until(call func() error) bool {
	for call() != nil {
		s.crowd.missed.Add(1)
		if s.crowd.over() {
			return false
		}
		time.Sleep(100*time.Millisecond + rand.N(400*time.Millisecond))
	}
	return true
}

// live deploys again and again, each time as if the disk had been prepared again.
func (s *sleeper) live() error {
	for n := 1; !s.crowd.over(); n++ {
		var o protocol.Order
		in := protocol.CheckIn{Protocol: protocol.Version, Machine: s.id, Image: "win11", Version: 1, Memory: int64(n)}
		if !s.until(func() error { return s.post(protocol.PathCheckIn, in, &o) }) {
			return nil
		}
		if !begins(&o) || version(&o) != 2 {
			return fmt.Errorf("order %+v", o)
		}
		s.order = n
		s.crowd.orders.Add(1)
		for done := range nightWork {
			s.second(int64(done))
		}
		r := protocol.Report{Protocol: protocol.Version, ID: strconv.Itoa(n), Machine: s.id, Image: "win11", Version: 2, ExitCode: n, Outcome: protocol.OutcomeDone, Log: fmt.Sprint("log ", n)}
		if !s.until(func() error { return s.post(protocol.PathReport, r, &protocol.Ack{}) }) {
			return nil
		}
		s.reports = n
		s.crowd.reports.Add(1)
	}
	return nil
}

// second fetches a piece and tells how far it is; either may be lost.
func (s *sleeper) second(done int64) {
	next := time.Now().Add(time.Second)
	const piece = 20_000
	fetch := s.fetch(rand.IntN(len(s.f.pack)-piece), piece)
	if fetch == nil {
		s.crowd.fetched.Add(piece)
	}
	tell := s.post(protocol.PathProgress, protocol.Progress{Protocol: protocol.Version, Machine: s.id, Phase: "fetch", Done: done, Total: nightWork}, &protocol.Ack{})
	if tell == nil {
		s.crowd.progress.Add(1)
	}
	if fetch != nil || tell != nil {
		s.crowd.missed.Add(1)
	}
	time.Sleep(time.Until(next))
}

// killedAtNight has machines check in, fetch, tell each second how far they are, and report, while
// the server is killed at random instants.
func killedAtNight(t *testing.T, machines, kills int, during time.Duration) {
	f := newFarm(t, machines)
	f.start()
	defer func() { f.kill() }()
	c := &crowd{stop: make(chan struct{})}
	all := make([]sleeper, machines)
	var wg sync.WaitGroup
	for i := range all {
		all[i] = sleeper{pc: f.pc(i), crowd: c}
		wg.Go(func() {
			time.Sleep(startTime * time.Duration(i) / time.Duration(machines))
			if err := all[i].live(); err != nil {
				t.Errorf("machine %d: %v", i, err)
			}
		})
	}
	pause := during / time.Duration(kills)
	var held int64
	for range kills {
		time.Sleep(pause/2 + rand.N(pause))
		held = max(held, f.memory())
		f.kill()
		f.start() // at the address it had
	}
	time.Sleep(2 * time.Second) // it also works after the last one
	close(c.stop)
	wg.Wait()
	f.kill()
	t.Logf("%d machines, %d kills: %d orders, %d reports, %d progress and %d MB were answered, %d calls were not; the server held %d MB at most",
		machines, kills, c.orders.Load(), c.reports.Load(), c.progress.Load(), c.fetched.Load()>>20, c.missed.Load(), held>>20)
	if c.orders.Load() < int64(machines*kills/2) || c.missed.Load() < int64(kills) {
		t.Error("the load was none, or the kills hit no machine")
	}
	f.nothingLost(all)
}

// nothingLost reads the state file: all that was acknowledged is there.
func (f *farm) nothingLost(all []sleeper) {
	st, err := state.Open(filepath.Join(f.dir, "state.db"), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	defer st.Close()
	for i := range all {
		if err := all[i].kept(st); err != nil {
			f.t.Errorf("machine %d: order %d and report %d were acknowledged: %v", i, all[i].order, all[i].reports, err)
		}
	}
}

// kept compares what a machine was told with what is on the disk. A call without an answer may have
// been taken or not.
func (s *sleeper) kept(st *state.Store) error {
	m := recordOf(st, s.id)
	if m == nil || m.Attempt == nil || m.Report == nil {
		return fmt.Errorf("kept is %+v", m)
	}
	log, _, err := st.Log(m.ID)
	order, report := int(m.CheckIn.Memory), m.Report.ExitCode
	switch {
	case order < s.order || order > s.order+1 || report < s.reports || report > s.reports+1:
		err = errors.Join(err, fmt.Errorf("kept are order %d and report %d", order, report))
	case log != fmt.Sprint("log ", report):
		err = errors.Join(err, fmt.Errorf("the log is %q, the report %d", log, report))
	case !begins(&m.Order) || m.Attempt.Tries != 1:
		err = errors.Join(err, fmt.Errorf("the order is %+v, the attempt %+v", m.Order, m.Attempt))
	case (m.Attempt.Result == state.ResultDone) != (report == order):
		err = errors.Join(err, fmt.Errorf("order %d, report %d, but the attempt is %+v", order, report, m.Attempt))
	}
	return err
}
