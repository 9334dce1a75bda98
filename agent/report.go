package agent

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"troy/diskwriter/pcdisk"
	"troy/internal/progress"
	"troy/server/protocol"
)

// readIdentity reads what the firmware says about the machine; a missing entry stays empty.
func (a *agent) readIdentity() {
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(cmp.Or(a.o.dmi, dmiDir), name))
		if err != nil {
			return ""
		}
		return protocol.Clean(strings.TrimSpace(string(b)), protocol.MaxText)
	}
	a.id.UUID, a.id.Serial = strings.ToLower(read("product_uuid")), read("product_serial")
	a.id.Vendor, a.id.Product = read("sys_vendor"), read("product_name")
	a.id.MACs = hardwareAddresses()
}

// describe is what the server is told at check-in.
func (a *agent) describe(diskErr error) *protocol.CheckIn {
	in := &protocol.CheckIn{Protocol: protocol.Version, Machine: a.id, Agent: version, Memory: memorySize(),
		Health: a.healthNow(), LastStart: a.lastStart(), Firmware: string(a.firmware.Kind), SecureBoot: a.firmware.SecureBoot}
	if a.machine != nil {
		s := a.machine.State()
		in.Image, in.Version, in.Staged, in.Merging = s.Image, s.Version, s.Staged, s.Merging
		in.Previous = previous(s)
	}
	in.Disks = a.describeDisks()
	if diskErr != nil {
		in.Detail = protocol.Clean(diskErr.Error(), protocol.MaxText)
	}
	return in
}

// describeDisks tells what an image could go to.
func (a *agent) describeDisks() []protocol.Disk {
	disks, err := a.disks()
	if err != nil {
		a.say("disks: %v", err)
	}
	var all []protocol.Disk
	for _, d := range disks {
		if d.Removable || d.USB || d.ReadOnly || len(all) == protocol.MaxDisks {
			continue
		}
		clean := func(s string) string { return protocol.Clean(s, protocol.MaxText) }
		all = append(all, protocol.Disk{
			Path: clean(d.Path), Model: clean(d.Model), Serial: clean(d.Serial), Size: d.Size, SectorSize: d.SectorSize,
			Empty: d.Holding == pcdisk.Bare || d.Holding == pcdisk.Unfinished, Troy: d.Holding == pcdisk.Prepared,
		})
	}
	return all
}

func memorySize() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// report tells the server how it ended. It gives up soon: the room waits.
func (a *agent) report(ctx context.Context, code int, failure error) error {
	if !a.answered.Load() {
		return nil // nobody is listening
	}
	ctx, cancel := context.WithTimeout(ctx, reportPatience)
	defer cancel()
	r := protocol.Report{Protocol: protocol.Version, ID: fmt.Sprint(time.Now().UnixNano()), Machine: a.id, Agent: version,
		Outcome: protocol.OutcomeKept, ExitCode: code, Phases: a.phases[max(0, len(a.phases)-protocol.MaxPhases):],
		HandOff: protocol.Clean(a.handedBy, protocol.MaxText), Log: protocol.Clean(a.log.String(), protocol.MaxLog)}
	if a.deploys {
		r.Outcome = protocol.OutcomeDone
	}
	if failure != nil {
		r.Outcome, r.Message = protocol.OutcomeFailed, protocol.Clean(failure.Error(), protocol.MaxDetail)
	}
	if a.machine != nil {
		s := a.machine.State()
		r.Image, r.Version = s.Image, s.Version
	}
	return a.servers.PostJSON(ctx, protocol.PathReport, &r, nil)
}

// tail keeps the last bytes of what went over the screen.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - protocol.MaxLog; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

// String gives whole lines, without the first if it was cut.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.buf
	if i := bytes.IndexByte(b, '\n'); len(b) == protocol.MaxLog && i >= 0 {
		b = b[i+1:]
	}
	return string(b)
}

// progressEvery is how often the server hears how far the work is.
const progressEvery = 2 * time.Second

// gauge shows how far a part of the work is, on the screen and to the server, from its first byte on.
type gauge struct {
	a     *agent
	phase string
	whole int64
	n     atomic.Int64
	begin sync.Once
	meter *progress.Meter
	stop  chan struct{}
	gone  chan struct{}
}

// newGauge makes a gauge for that many bytes, 0 when nobody knows. Done ends it.
func (a *agent) newGauge(phase string, total int64) *gauge {
	return &gauge{a: a, phase: phase, whole: total, stop: make(chan struct{}), gone: make(chan struct{})}
}

func (g *gauge) start() {
	g.meter = progress.New(g.a.out, "deploy: "+g.phase, g.whole)
	go g.post()
}

// Add counts n bytes. It may be called from several goroutines.
func (g *gauge) Add(n int64) {
	g.begin.Do(g.start)
	g.n.Add(n)
	g.meter.Add(n)
}

// Total is what was counted so far.
func (g *gauge) Total() int64 { return g.n.Load() }

// Done writes the closing line.
func (g *gauge) Done() {
	g.begin.Do(g.start)
	close(g.stop)
	<-g.gone
	g.meter.Done()
}

// post tells the server every now and then. A message that does not get through is of no use later.
func (g *gauge) post() {
	defer close(g.gone)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	start := time.Now()
	for {
		select {
		case <-g.stop:
			return
		case <-tick.C:
		}
		if !g.a.answered.Load() {
			continue
		}
		done := g.n.Load()
		ctx, cancel := context.WithTimeout(context.Background(), progressEvery)
		_ = g.a.servers.PostJSON(ctx, protocol.PathProgress, &protocol.Progress{
			Protocol: protocol.Version, Machine: g.a.id, Phase: g.phase, Done: done, Total: max(g.whole, 0),
			Rate: int64(float64(done) / time.Since(start).Seconds()),
		}, nil)
		cancel()
	}
}

// screen is where all is said: the console, with its end kept for the report.
func screen(out io.Writer, t *tail) io.Writer { return &lockedWriter{w: io.MultiWriter(out, t)} }
