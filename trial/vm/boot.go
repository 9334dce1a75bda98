package vm

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
)

// ErrHungBeforeInit says that a kernel was started and that none of the guest's own programs said
// a line for so long that it must hang. Emulated machines do that now and then: their clocks and
// interrupts get stuck. It is no fault of what is tested, unless it comes every time.
var ErrHungBeforeInit = errors.New(
	"hung before init: a fault of the emulator, unless it comes every time")

// How long it may take, at most, until userland says its first line. This is only for hangs: an
// ordinary start takes 2 to 5 seconds from the kernel's, or 10 from the firmware's last line.
const (
	initLimit = time.Minute
	// A part of it comes on top where firmware or boot loader have to run or to load the kernel
	// first: a kernel that is started with "quiet" does not say when it begins.
	loadShare = 2
)

var (
	// kernelBegins is the first line of a kernel.
	kernelBegins = regexp.MustCompile(`^(EFI stub: |\[ *0\.0+\] Linux version )`)
	// kernelComes are the last lines of firmware, of Troy's boot menu and of iPXE.
	kernelComes = regexp.MustCompile(`^(BdsDxe: starting |Troy: loading from this medium` +
		`|\S*(initrd|initramfs)\S*\.\.\. ok)`)
	// untouched are further lines of firmware and boot loader while they read nothing but disks.
	untouched = regexp.MustCompile(`^(BdsDxe: loading |Welcome to GRUB!|[[:cntrl:][:space:]]*$)`)
	// kernelSays are the lines of a kernel. QEMU's own begin with its name.
	kernelSays = regexp.MustCompile(`^(\[ *\d+\.\d{6}\]|\S*qemu-system-\S+: )`)
)

// bootWatch follows from the serial log how far a start is, and notices one that gets stuck before
// the guest's own programs run. A line that it does not know is one of theirs: better to wait for
// the VM's timeout than to end a VM that works.
type bootWatch struct {
	limit    time.Duration // from the kernel's start to the first line of userland
	firmware bool
	kernel   bool // QEMU starts the kernel

	mu    sync.Mutex
	timer *time.Timer // nil = not waiting
	hang  func()      // called, once, when the time is over
	after string      // the line the time runs from
	clean bool        // nothing ran but firmware, loaders from disks, and kernels
}

func newBootWatch(c *Config) *bootWatch {
	return &bootWatch{
		limit:    orDefault(c.InitLimit, initLimit),
		firmware: c.Firmware != nil, kernel: c.Kernel != "",
	}
}

// begin is called at the start of QEMU.
func (b *bootWatch) begin(hang func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hang, b.clean = hang, true
	if b.firmware || b.kernel {
		b.wait("the start of QEMU", b.firmware)
	}
}

// line takes a line of the serial log and tells whether it says that all is well.
func (b *bootWatch) line(s string) (well bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case strings.Contains(s, "Kernel panic - "):
		b.rest() // it is stuck, but not by the emulator
	case kernelBegins.MatchString(s):
		b.wait(s, false)
	case kernelComes.MatchString(s):
		b.wait(s, true)
	case untouched.MatchString(s), kernelSays.MatchString(s):
		return false
	default:
		b.rest()
		b.clean = false
	}
	return true
}

// wait (re)starts the time. The caller holds mu.
func (b *bootWatch) wait(after string, load bool) {
	b.rest()
	if b.hang == nil {
		return
	}
	b.after = after
	limit := b.limit
	if load {
		limit += limit / loadShare
	}
	hang := b.hang
	var t *time.Timer
	t = time.AfterFunc(limit, func() {
		b.mu.Lock()
		inTime := b.timer != t // a line came first
		b.mu.Unlock()
		if !inTime {
			hang()
		}
	})
	b.timer = t
}

// rest ends the waiting. The caller holds mu.
func (b *bootWatch) rest() {
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
}

// end is called when QEMU has ended.
func (b *bootWatch) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rest()
	b.hang = nil
}

// hung is the error for a time that is over.
func (b *bootWatch) hung() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Errorf("%w (nothing from userland since %q)", ErrHungBeforeInit, b.after)
}

// repeatable tells whether another start shows nothing of this one: no program of the guest ran,
// and nothing was fetched over a network.
func (b *bootWatch) repeatable() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.clean
}
