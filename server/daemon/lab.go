package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"troy/internal/errline"
	"troy/server"
	"troy/server/catalog"
	"troy/server/lab"
	"troy/server/limit"
	"troy/server/programs"
	"troy/server/rooms"
	"troy/server/rooms/api"
	"troy/server/servedir"
	"troy/server/signing"
	"troy/server/state"
	"troy/server/wake"
)

// callsPerSecond is the limit of each address. A room behind one address (NAT) needs one progress a
// second for each machine.
const callsPerSecond = 200

// refusedPerMinute is how many refused calls of an address are told.
const refusedPerMinute = 6

// labServer decides what machines do.
type labServer struct {
	rooms *rooms.Keeper
	state *state.Store
	dir   servedir.Dir
	path  string // of lab.yaml, absolute
}

// openLab opens lab.yaml and the state, and fills in who answers check-ins, reports and the admin.
func openLab(o *Options, c *catalog.Catalog, so *server.Options) (*labServer, error) {
	path, open := o.Lab, lab.Open
	if path == "" {
		path, open = filepath.Join(o.Dir, lab.FileName), lab.OpenLater
	}
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	s := &labServer{dir: servedir.Of(o.Dir)}
	if s.path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if err := s.dir.Make(); err != nil {
		return nil, err
	}
	token := api.Token(s.dir.Token())
	if damaged, err := token.Ensure(); err != nil {
		return nil, err
	} else if damaged {
		o.Events.Note(fmt.Sprintf("%s held no token: another was made, 'troy token show' prints it", token))
	}
	boot := ""
	if o.Boot != nil {
		boot = o.Boot.Dir
	}
	shelf, err := programs.Open(o.Dir, boot)
	if err != nil {
		return nil, err
	}
	if s.state, err = state.Open(s.dir.State(), nil); err != nil {
		return nil, err
	}
	s.rooms, err = rooms.New(&rooms.Options{Lab: file, State: s.state, Sizes: c, Programs: shelf, Waker: waker{}, OnNote: o.Events.Note, Permitted: signing.NewPermits(o.Dir).Permitted,
		Agent: remembered(agentTime, currentAgent(c, o.Events.Warn)), Images: c.Images})
	if err != nil {
		return nil, errline.Join(err, s.state.Close())
	}
	so.Orders = withServers{s.rooms, remembered(agentTime, signedServers(o.Dir, o.Events.Warn))}
	so.Keep, so.OnProgress, so.Admin = s.rooms.Report, s.rooms.Progress, api.NewHandler(s.rooms, token)
	so.CallsPerSecond = callsPerSecond
	told := limit.New(refusedPerMinute/60.0, refusedPerMinute)
	so.OnRefused = func(address, path string, err error) {
		// One who goes on calling must not fill the journal.
		if a, _ := netip.ParseAddr(address); told.Take(a, time.Now()) == 0 {
			o.Events.Note(fmt.Sprintf("refused %s of %s: %v", path, address, err))
		}
	}
	if b := file.Lab().Bandwidth; so.Bandwidth == 0 && b > 0 {
		so.Bandwidth = b.Bytes()
	}
	return s, nil
}

// agentTime is how long the current release of the agent and the list of servers are believed.
const agentTime = 10 * time.Second

// remembered asks only if the last answer is older than that.
func remembered(during time.Duration, ask func() string) func() string {
	var mu sync.Mutex
	var last string
	var at time.Time
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		if at.IsZero() || time.Since(at) > during {
			last, at = ask(), time.Now()
		}
		return last
	}
}

// waker makes wake-on-LAN of the calls of package rooms.
type waker struct{}

// Wake implements rooms.Waker.
func (waker) Wake(ctx context.Context, calls []rooms.Call) error {
	var targets []wake.Target
	for _, c := range calls {
		targets = append(targets, wake.Target{MACs: c.MACs, Broadcast: c.Broadcast})
	}
	return wake.Send(ctx, targets)
}
