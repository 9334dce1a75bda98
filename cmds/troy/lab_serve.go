package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"troy/image"
	"troy/server"
	"troy/server/lab"
	"troy/server/rooms"
	"troy/server/rooms/api"
	"troy/server/servedir"
	"troy/server/state"
	"troy/server/wake"
)

// callsPerSecond is the limit of each address. A room behind one address (NAT) needs one progress a second for each machine.
const callsPerSecond = 200

// labServer is what --lab adds to a server.
type labServer struct {
	keeper *rooms.Keeper
	state  *state.Store
	dir    servedir.Dir
	token  string
	file   *lab.File
}

// openLab opens lab.yaml and the state, and fills the options of the server.
func (c *call) openLab(store *image.Store, dir, path string, o *server.Options) (*labServer, error) {
	s := &labServer{dir: servedir.Of(dir)}
	var err error
	if s.file, err = lab.Open(path); err != nil {
		return nil, labFault(c, err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if err := s.dir.Make(); err != nil {
		return nil, err
	}
	if s.token, err = api.LoadToken(s.dir.Token()); err != nil {
		return nil, err
	}
	if err := s.dir.SetLab(path); err != nil {
		return nil, err
	}
	if s.state, err = state.Open(s.dir.State(), nil); err != nil {
		return nil, err
	}
	note := func(line string) {
		fmt.Fprintf(c.stdout, "%s  %s\n", time.Now().Format(time.TimeOnly), clean(line))
	}
	s.keeper, err = rooms.New(&rooms.Options{Lab: s.file, State: s.state, Sizes: &storeSizes{store: store}, Waker: waker{}, OnNote: note,
		Agent: remembered(agentTime, func() string { return c.currentAgent(store) })})
	if err != nil {
		return nil, errors.Join(err, s.state.Close())
	}
	o.Orders, o.Keep, o.OnProgress, o.Admin = s.keeper, s.keeper.Report, s.keeper.Progress, api.NewHandler(s.keeper, s.token)
	o.CallsPerSecond = callsPerSecond
	o.OnRefused = func(address, path string, err error) { note(fmt.Sprintf("refused %s of %s: %v", path, address, err)) }
	if b := s.file.Lab().Bandwidth; o.Bandwidth == 0 && b > 0 {
		o.Bandwidth = b.Bytes()
	}
	return s, nil
}

// run does what needs a clock, until ctx ends, and reads lab.yaml anew on SIGHUP.
func (s *labServer) run(ctx context.Context, l net.Listener) error {
	if err := s.dir.SetAddress(localURL(l.Addr())); err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		defer signal.Stop(hup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
				s.keeper.Reload(true)
			}
		}
	}()
	go s.keeper.Run(ctx)
	return nil
}

// localURL is how programs on this machine reach the listener.
func localURL(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return "http://" + a.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// agentTime is how long the current release of the agent is believed.
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

func (waker) Wake(ctx context.Context, calls []rooms.Call) error {
	var targets []wake.Target
	for _, c := range calls {
		targets = append(targets, wake.Target{MACs: c.MACs, Broadcast: c.Broadcast})
	}
	return wake.Send(ctx, targets, nil)
}

// storeSizes computes what machines fetch and write. Every pair of versions is planned once.
type storeSizes struct {
	store *image.Store

	mu    sync.Mutex
	known map[sizeKey]rooms.Size
}

type sizeKey struct {
	image      string
	have, want int
}

// sizesMost bounds what is kept: versions only grow.
const sizesMost = 1000

// Size implements rooms.Sizes. A machine that holds the version have plans as its agent does: what its disk has elsewhere it need not fetch.
func (s *storeSizes) Size(ctx context.Context, name string, have, want int) (rooms.Size, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := sizeKey{name, have, want}
	if size, ok := s.known[key]; ok {
		return size, nil
	}
	load := image.LoadLocalPlan
	if have == 0 {
		load = image.LoadPlan // nothing on the disk is known
	}
	plan, err := load(ctx, s.store, name, have, want)
	if err != nil {
		return rooms.Size{}, err
	}
	if s.known == nil || len(s.known) >= sizesMost {
		s.known = map[sizeKey]rooms.Size{}
	}
	size := rooms.Size{Fetch: plan.FetchBytes, Write: plan.WriteBytes}
	s.known[key] = size
	return size, nil
}
