package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"troy/cmds/deploy/coldplug"
	"troy/diskwriter"
	"troy/diskwriter/target"
	"troy/netfetch"
	"troy/server/protocol"
)

// agent is one run of the program.
type agent struct {
	o   *options
	out io.Writer

	plug     *coldplug.Plugger // nil when the drivers are somebody else's business
	target   *target.Target
	machine  *diskwriter.Machine
	link     *netfetch.Link
	server   *netfetch.HTTP
	id       protocol.Machine
	answered bool // the server gave an order
	deploys  bool // an order was carried out to its end
	phases   []protocol.Phase

	retryMu   sync.Mutex
	retrySaid time.Time // when a retry was last shown

	toWindows func(context.Context) error // makes the next start that of Windows
	reset     func() error                // restarts the machine
}

func newAgent(o *options, out io.Writer) *agent {
	a := &agent{o: o, out: &lockedWriter{w: out}, reset: drainAndReset}
	a.toWindows = a.prepareWindows
	return a
}

// say writes one line to the console.
func (a *agent) say(format string, args ...any) {
	fmt.Fprintf(a.out, "deploy: %s\n", fmt.Sprintf(format, args...))
}

// phase measures a part of the work and notes it for the report.
func (a *agent) phase(name string, bytes func() int64, f func() error) error {
	start := time.Now()
	err := f()
	p := protocol.Phase{Name: name, Seconds: time.Since(start).Seconds()}
	if bytes != nil {
		p.Bytes = bytes()
	}
	a.phases = append(a.phases, p)
	return err
}

// run does everything and returns the exit code, unless the machine was handed over.
func (a *agent) run(ctx context.Context) int {
	a.say("%s", version)
	err := a.work(ctx)
	code := exitCode(err)
	if err != nil {
		a.say("stopped: %v; %s", err, advice(code))
	}
	handErr := a.handOver(ctx, code, err)
	if a.target != nil {
		a.target.Close()
	}
	if handErr != nil {
		a.say("hand-off: %v", handErr)
		return max(code, exitCheck)
	}
	return code
}

// work is everything before the hand-off. A machine whose disk cannot take an image still checks in, to say why.
func (a *agent) work(ctx context.Context) error {
	if a.o.drivers {
		if err := a.loadDrivers(ctx); err != nil {
			a.say("drivers: %v", err)
		}
	}
	diskErr := a.openDisk(ctx)
	if diskErr == nil {
		diskErr = a.resume(ctx)
	}
	if err := a.connect(ctx); err != nil {
		return both(diskErr, err)
	}
	order, err := a.checkIn(ctx, diskErr)
	if diskErr != nil || err != nil {
		return both(diskErr, err)
	}
	return a.obey(ctx, order)
}

// handOver reports and gives the machine to Windows.
func (a *agent) handOver(ctx context.Context, code int, failure error) error {
	if !a.o.handOff {
		return a.report(ctx, code, failure)
	}
	var handErr error
	err := a.phase("hand-off", nil, func() error {
		handErr = a.toWindows(ctx)
		return handErr
	})
	if rerr := a.report(ctx, code, both(failure, err)); rerr != nil {
		a.say("report: %v", rerr)
	}
	if handErr != nil && !canReset(handErr) {
		return handErr
	}
	if a.o.shell {
		a.say("stopping in a shell, as asked")
		return nil
	}
	a.say("restarting into Windows")
	return a.reset()
}
