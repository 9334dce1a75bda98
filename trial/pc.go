package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"troy/internal/progress"
	"troy/internal/space"
	"troy/trial/disc"
	"troy/trial/inside"
	"troy/trial/vm"
)

// pc is one of the two virtual PCs.
type pc struct {
	Name string
	UUID string
	MAC  string
	dir  string // disk, firmware variables, TPM, logs
}

func (t *Trial) pcs() (a, b *pc) {
	make1 := func(name string, n int) *pc {
		return &pc{Name: name, UUID: fmt.Sprintf("74726f79-0000-4000-8000-%012x", n), MAC: fmt.Sprintf("52:54:00:74:72:%02x", n), dir: filepath.Join(t.o.Dir, name)}
	}
	return make1("pc-a", 1), make1("pc-b", 2)
}

func (p *pc) disk() string { return filepath.Join(p.dir, "disk.img") }

func (p *pc) vars() string { return filepath.Join(p.dir, "vars.fd") }

// bare gives a PC an empty disk, without a byte on it. If it had one before, when this step was cut
// off, the server forgets the key that was on it.
func (t *Trial) bare(ctx context.Context, p *pc) error {
	if _, err := os.Stat(p.disk()); err == nil {
		forget := t.troy.command(ctx, "forget", "--yes", "--store", t.troy.store(), p.Name)
		forget.Stdout, forget.Stderr = t.log, t.log
		if err := forget.Run(); err != nil {
			t.say("    note: %s was not known to the server: %v", p.Name, err)
		}
	}
	if err := os.RemoveAll(p.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(p.dir, "tpm"), 0o700); err != nil {
		return err
	}
	return sparse(p.disk(), t.diskSize())
}

// power says how a PC is started, and how it ends.
type power struct {
	order     inside.Order // its number is set by start
	stick     bool         // with the boot stick, which comes first
	agentOnly bool         // it ends at the first reset, before Windows
	setup     bool         // Windows is set up, which takes long
	doomed    bool         // the version cannot come up
	clock     string       // of the PC, RFC 3339 without zone; "": right
	drive     string       // a second disk; "": none

	cutAt *regexp.Regexp // the power is cut after a line like this; nil: never
	cutUp bool           // the power is cut once Windows is up and has its record
	after time.Duration  // how long after that
}

// outcome is what became of a start.
type outcome struct {
	order   int
	serial  string
	took    time.Duration
	cut     bool // the power was cut as ordered
	late    bool // it had not ended in time, and was switched off
	picture string
}

// start starts a PC and waits until it is off.
func (t *Trial) start(ctx context.Context, p *pc, how power) (*outcome, error) {
	if err := t.serving(ctx); err != nil {
		return nil, err
	}
	t.state.Order++
	how.order.Number, how.order.BallastMiB, how.order.Tell = t.state.Order, t.o.ballast(), tellURL
	if err := t.save(); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s-%03d", p.Name, how.order.Number)
	orders := filepath.Join(p.dir, "order.iso")
	if err := disc.Make(orders, &how.order, t.o.Program); err != nil {
		return nil, err
	}
	sockets, remove, err := socketDir()
	if err != nil {
		return nil, err
	}
	defer remove()
	tpm, end, err := t.startTPM(ctx, p, sockets)
	if err != nil {
		return nil, err
	}
	defer end()
	c := t.config(p, &how, name, orders, tpm)
	monitor := filepath.Join(sockets, "qmp")
	c.Args = append(c.Args, vm.MonitorArgs(monitor)...)
	began := time.Now()
	machine, err := vm.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	defer machine.Close()
	o := &outcome{order: how.order.Number}
	switch {
	case how.cutUp:
		o.cut, err = t.cutUp(ctx, machine, &how)
	case how.cutAt != nil:
		o.cut, err = cut(ctx, machine, &how)
	default:
		err = t.untilOff(ctx, machine, &how, monitor, o)
	}
	o.took, o.serial = time.Since(began), machine.Log()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return o, err
}

// How often the room on this machine's disk is looked at while a PC runs, and how much has to be
// left, in bytes: at its end QEMU stops the PC, which would look like a Windows that hangs.
const (
	lookEvery = 5 * time.Second
	leastRoom = 64 << 20
)

func roomLeft(dir string, least int64) error {
	free, err := space.Free(dir)
	if err == nil && free < least {
		err = fmt.Errorf("%w any longer: %s has %s left; make room there", ErrHost, dir, progress.Bytes(free))
	}
	return err
}

// pictureLimit is how long a QEMU may take for a picture: it may hang itself.
const pictureLimit = 30 * time.Second

// untilOff waits until the PC is off. One that takes too long is switched off, with a picture of its
// screen.
func (t *Trial) untilOff(ctx context.Context, m *vm.VM, how *power, monitor string, o *outcome) error {
	patience, end := context.WithTimeout(ctx, t.patience(how))
	defer end()
	for patience.Err() == nil {
		look, stop := context.WithTimeout(patience, lookEvery)
		err := m.Wait(look)
		stop()
		if !errors.Is(err, vm.ErrTimeout) {
			return err
		}
		if err := roomLeft(t.o.Dir, leastRoom); err != nil {
			m.Kill()
			return err
		}
	}
	o.late, o.picture = true, strings.TrimSuffix(m.LogFile(), ".serial.log")+".png"
	asked, stop := context.WithTimeout(ctx, pictureLimit)
	defer stop()
	if err := vm.Monitor(asked, monitor, "screendump "+vm.Quote(o.picture)+" -f png"); err != nil {
		fmt.Fprintf(t.log, "no picture of the screen: %v\n", err)
		o.picture = ""
	}
	m.Kill()
	return nil
}

// cut cuts the power some time after a line, unless the PC is off before.
func cut(ctx context.Context, m *vm.VM, how *power) (bool, error) {
	if _, err := m.Expect(ctx, how.cutAt.String()); err != nil {
		if errors.Is(err, vm.ErrEnded) {
			return false, nil
		}
		if errors.Is(err, vm.ErrTimeout) {
			return false, fmt.Errorf("%w: the agent did not come to %q; %s has what it said", ErrStopped, how.cutAt, m.LogFile())
		}
		return false, err
	}
	return cutIn(ctx, m, how.after), nil
}

// cutIn cuts the power after a while, unless the PC is off before.
func cutIn(ctx context.Context, m *vm.VM, after time.Duration) bool {
	ended, stop := context.WithTimeout(ctx, after)
	defer stop()
	if err := m.Wait(ended); err == nil {
		return false
	}
	m.Kill()
	return true
}

// stays is what a stand-in says when it is up and stays; Windows tells it over the network.
const stays = `STANDIN: staying`

// cutUp cuts the power once Windows is up.
func (t *Trial) cutUp(ctx context.Context, m *vm.VM, how *power) (bool, error) {
	patience, stop := context.WithTimeout(ctx, t.patience(how))
	defer stop()
	told := t.upAt(how.order.Number)
	said := make(chan error, 1)
	go func() {
		_, err := m.Expect(patience, stays)
		said <- err
	}()
	select {
	case <-told:
	case err := <-said:
		if err != nil {
			return false, ctx.Err() // it did not come up: what is missing then is told
		}
	}
	return cutIn(ctx, m, how.after), ctx.Err()
}

// config is the PC for one start.
func (t *Trial) config(p *pc, how *power, name, orders, socket string) *vm.Config {
	c := &vm.Config{
		Name: name, Dir: p.dir, Firmware: t.host.Firmware, Vars: p.vars(), KVM: t.host.KVM,
		Disks: []vm.Disk{{Path: p.disk(), Bus: vm.AHCI, Serial: p.Name}, {Path: orders, Bus: vm.CDROM}},
		NICs:  []vm.NIC{{Model: "e1000e", MAC: p.MAC, User: userNetwork(t.o.Relay, t.server.address, t.tells.listener.Addr().String(), t.o.Online)}},
		// What the agent says on the serial line is not all that runs: Windows says nothing there.
		MemoryMiB: t.o.memory(), CPUs: t.host.CPUs, NoReboot: how.agentOnly, Timeout: t.patience(how) + time.Minute, InitLimit: t.patience(how) + time.Minute,
		Args: []string{"-uuid", p.UUID, "-device", "VGA", "-device", "qemu-xhci,id=usb", "-device", "usb-tablet,bus=usb.0"},
	}
	if how.stick {
		c.Disks = append(c.Disks, vm.Disk{Path: t.stick(), Bus: vm.USB, ReadOnly: true, BootIndex: 1})
		c.Disks[0].BootIndex = 2
	}
	if how.drive != "" {
		c.Disks = append(c.Disks, vm.Disk{Path: how.drive, Bus: vm.AHCI, Serial: "gates"})
	}
	c.Args = append(c.Args, "-rtc", "base="+orDefault(how.clock, "utc"))
	if socket != "" {
		c.Args = append(c.Args, "-chardev", "socket,id=tpm,path="+vm.Escape(socket), "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0")
	}
	return c
}

// socketDir makes a folder with a short name: the path of a socket has at most 107 bytes.
func socketDir() (dir string, end func(), err error) {
	dir, err = os.MkdirTemp("", "troy-try-")
	return dir, func() { os.RemoveAll(dir) }, err // nothing but sockets is in it
}

// startTPM starts the TPM of a PC, on a socket in dir. It ends by itself when QEMU goes.
func (t *Trial) startTPM(ctx context.Context, p *pc, dir string) (socket string, end func(), err error) {
	if t.host.TPM == "" {
		return "", func() {}, nil
	}
	socket = filepath.Join(dir, "tpm")
	cmd := exec.CommandContext(ctx, t.host.TPM, "socket", "--tpm2", "--tpmstate", "dir=tpm", "--ctrl", "type=unixio,path="+socket, "--terminate")
	cmd.Dir = p.dir // its options end at a comma, also in the path of a folder
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = t.log, t.log
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait() // why it ended is in the log
	}()
	end = func() {
		cmd.Process.Kill() // an error says that it has ended
		<-ended
	}
	const tries, pause = 100, 50 * time.Millisecond
	for range tries {
		if _, err := os.Stat(socket); err == nil {
			return socket, end, nil
		}
		select {
		case <-ended:
			return "", nil, fmt.Errorf("%w: swtpm ended at once; why is at the end of %s", ErrHost, filepath.Join(t.o.Dir, logFile))
		case <-time.After(pause):
		}
	}
	end()
	return "", nil, fmt.Errorf("%w: swtpm does not start; %s may say why", ErrHost, filepath.Join(t.o.Dir, logFile))
}

// said reports whether the serial line has a line with that text.
func (o *outcome) said(text string) bool { return strings.Contains(o.serial, text) }
