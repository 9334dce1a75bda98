package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"troy/agent/coldplug"
	"troy/chainload"
	"troy/chainload/bootfiles"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/image/trust"
	"troy/internal/errline"
	"troy/netfetch"
	"troy/netfetch/link"
	"troy/server/protocol"
)

// version of the program as the server hears it.
const version = "troy-deploy/1"

// agent is one run of the program.
type agent struct {
	o   *Options
	out io.Writer

	plug     *coldplug.Plugger // nil when the drivers are somebody else's business
	target   *pcdisk.Target
	machine  *machine.Machine
	media    media
	clock    *netfetch.Clock
	link     *link.Link
	servers  *netfetch.Mirrors // nil: none is known
	answered atomic.Bool       // a server did
	store    *trust.Source     // nil until it was opened
	pending  []byte            // trusted metadata that the journal has to keep
	id       protocol.Machine
	deploys  bool // an order was carried out to its end
	phases   []protocol.Phase
	log      tail
	handedBy string // how Windows is started

	memo     memo
	firmware chainload.FirmwareInfo
	decision chainload.Decision
	trial    bool // this agent is a new one that has to report before it is kept
	own      ownCopy
	renewed  bool // a newer agent is to be started next
	proven   bool // the version on the disk was seen healthy: it may be merged
	admitted bool // the journal may be written to

	// noWindows: a reinstall was begun, so the disk starts nothing.
	noWindows bool
	// parentChanged is why the machine could not be opened, when that can be healed.
	parentChanged error

	retryMu   sync.Mutex
	retrySaid time.Time // when a retry was last shown

	boot      *bootfiles.Set                                  // of the version that is being installed; nil: not read yet
	onESP     func(do func(root string) error) error          // mounts the ESP
	toWindows func(context.Context) (chainload.Method, error) // makes the next start that of Windows
	reset     func() error                                    // restarts the machine
}

func newAgent(o *Options, out io.Writer) *agent {
	a := &agent{o: o, reset: drainAndReset}
	a.out = screen(out, &a.log)
	a.toWindows, a.onESP = a.prepareWindows, a.mountedESP
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
	a.readMedia()
	err := a.work(ctx)
	code := exitCode(err)
	if err != nil {
		a.say("stopped: %v; %s", err, adviceOn(err, code))
	}
	handErr := a.handOver(ctx, code, err)
	if a.target != nil {
		a.target.Close()
	}
	if handErr != nil {
		a.say("hand-off: %v", handErr)
		return max(code, ExitCheck)
	}
	return code
}

// work is everything before the hand-off. A machine whose disk cannot take an image still checks in, to say why.
func (a *agent) work(ctx context.Context) error {
	if !a.o.Running {
		if err := a.loadDrivers(ctx); err != nil {
			a.say("drivers: %v", err)
		}
	}
	a.readIdentity()
	diskErr := a.openDisk(ctx)
	a.memo = a.recall()
	a.readFirmware()
	if err := a.supported(); err != nil {
		diskErr, a.parentChanged = err, nil
	}
	if diskErr == nil && !a.reinstalling() {
		if diskErr = a.judge(ctx); diskErr == nil {
			diskErr = a.resume(ctx)
		}
		a.judgeAgent(ctx)
	}
	if err := a.connect(ctx); err != nil {
		return errline.Join(diskErr, err)
	}
	order, err := a.checkIn(ctx, diskErr)
	if err != nil {
		return errline.Join(diskErr, err)
	}
	if order.Action == protocol.ActionProvision && errors.Is(diskErr, pcdisk.ErrNone) {
		a.say("%v", diskErr)
		err := a.provision(ctx, order)
		a.renewed = a.keepAgent(ctx, order)
		return err
	}
	if diskErr != nil && a.parentChanged == nil {
		return diskErr
	}
	err = a.obey(ctx, order)
	if err == nil {
		a.remember()
		a.renewBootFiles(ctx)
		if a.stuck() {
			err = &stopError{"start", ExitCheck, errLoop}
		}
	}
	a.renewed = a.keepAgent(ctx, order)
	return err
}

// readMedia reads what the media carry. Whatever cannot be used is said, and done without.
func (a *agent) readMedia() {
	m, err := readMedia(cmp.Or(a.o.media, mediaDir))
	if err != nil {
		a.say("boot media: %v; going on without", err)
	}
	a.media = m
	a.clock = netfetch.NewClock(m.built, nil)
}

// handOver reports and gives the machine to Windows.
func (a *agent) handOver(ctx context.Context, code int, failure error) error {
	if a.o.NoHandOff {
		return a.report(ctx, code, failure)
	}
	if a.supported() != nil {
		return a.report(ctx, code, failure) // a restart would end here again
	}
	if a.noWindows {
		return a.again(ctx, code, failure)
	}
	if a.stuck() {
		a.say("Windows is not started again by itself")
		return a.report(ctx, code, failure)
	}
	if a.renewed {
		a.say("restarting into the new agent")
		return errline.Join(a.report(ctx, code, failure), a.reset())
	}
	return a.startWindows(ctx, code, failure)
}

// stuck says that starting Windows once more is of no use, unless something was deployed.
func (a *agent) stuck() bool { return a.decision.Action == chainload.Stop && !a.deploys }

// startWindows prepares the hand-off, reports, and restarts the machine.
func (a *agent) startWindows(ctx context.Context, code int, failure error) error {
	var method chainload.Method
	var handErr error
	err := a.phase("hand-off", nil, func() error {
		method, handErr = a.toWindows(ctx)
		return handErr
	})
	a.handedBy = string(method)
	if rerr := a.report(ctx, code, errline.Join(failure, err)); rerr != nil {
		a.say("report: %v", rerr)
	} else if a.answered.Load() {
		a.confirmAgent()
	}
	if handErr != nil && !canReset(handErr) {
		return handErr
	}
	a.handed(method)
	if a.o.Shell {
		a.say("stopping in a shell, as asked")
		return nil
	}
	a.say("restarting into Windows")
	return a.reset()
}

// againAfter is how long a machine that cannot start Windows waits before it tries again.
const againAfter = 60 * time.Second

// again restarts the machine into this agent: there is no Windows on the disk until a reinstall is finished.
func (a *agent) again(ctx context.Context, code int, failure error) error {
	if err := a.report(ctx, code, failure); err != nil {
		a.say("report: %v", err)
	}
	a.say("there is no Windows on this disk until the reinstallation is finished; trying again in %.0f s", againAfter.Seconds())
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(againAfter):
	}
	return a.reset()
}
