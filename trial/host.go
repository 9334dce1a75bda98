package trial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"troy/chainload/release"
	"troy/initramfs/bundle"
	"troy/internal/progress"
	"troy/internal/space"
	"troy/internal/tool"
	"troy/trial/vm"
)

// Host is what this machine has for a trial.
type Host struct {
	KVM      bool
	WhyNot   string // why there is no KVM
	Firmware *vm.Firmware
	TPM      string // the program swtpm; "": none
	CPUs     int    // of a virtual PC
}

// programs are those of other projects that a trial runs.
var programs = []string{"qemu-system-x86_64", "qemu-img", "mkntfs", "ntfs-3g", "7zz", "wimlib-imagex", hiveEditor}

// hiveEditor makes the service of a disk image; that of a medium is made by its first logon.
const hiveEditor = "hivexsh"

// kvmLimit bounds the start that shows whether KVM works.
const kvmLimit = 30 * time.Second

// spareMiB is what is left to the host beside a virtual PC.
const spareMiB = 512

// lookAtHost finds out whether and how this machine can run the trial. The kernel of the bundle is
// tried in KVM.
func lookAtHost(ctx context.Context, o *Options, s *Source, n *Need) (*Host, error) {
	var lacks []error
	if _, err := bundle.Open(o.Bundle); err != nil {
		lacks = append(lacks, fmt.Errorf("%w: make one (make bundle) and name it by --bundle", err))
	}
	lacks = append(lacks, missing(s)...)
	h := &Host{CPUs: 1}
	find := vm.FindSecureFirmware
	if o.NoSecureBoot {
		find = vm.FindFirmware
	}
	var err error
	if h.Firmware, err = find(); err != nil && !o.NoSecureBoot {
		h.Firmware, err = vm.FindFirmware()
	}
	if err != nil {
		lacks = append(lacks, err)
	}
	if free, err := freeMemory("/proc/meminfo"); err == nil && free < int64(o.memory()+spareMiB)<<20 {
		lacks = append(lacks, fmt.Errorf("%s of memory are free, and a virtual PC takes %d MiB: close other programs, or give it less by --memory", progress.Bytes(free), o.memory()))
	}
	if err := space.Check(o.Dir, "the trial", n.Bytes); err != nil {
		lacks = append(lacks, err)
	}
	if err := errors.Join(lacks...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHost, err)
	}
	h.TPM, _ = exec.LookPath("swtpm") // without one Windows is tried without
	h.lookForKVM(ctx, o)
	return h, nil
}

// missing lists the programs that a trial of a source lacks.
func missing(s *Source) (lacks []error) {
	for _, name := range programs {
		if name == hiveEditor && s.Medium {
			continue
		}
		if _, err := tool.Path(name); err != nil {
			lacks = append(lacks, &tool.Error{Tool: name, Err: err})
		}
	}
	return lacks
}

func (h *Host) lookForKVM(ctx context.Context, o *Options) {
	if o.Emulate {
		h.WhyNot = "as asked"
		return
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		h.WhyNot = err.Error()
		if os.IsPermission(err) {
			h.WhyNot += ": add your user to the group kvm, and sign in again"
		}
		return
	}
	f.Close()
	if err := vm.TryKVM(ctx, filepath.Join(o.Bundle, release.Kernel), kvmLimit); err != nil {
		h.WhyNot, _, _ = strings.Cut("no kernel runs in it: "+err.Error(), "\n")
		return
	}
	h.KVM, h.CPUs = true, 2
}

// freeMemory is what programs can still take, in bytes.
func freeMemory(file string) (int64, error) {
	b, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("MemAvailable:")); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(rest)), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("MemAvailable is not in it")
}

// Need is what a trial takes of the host, roughly.
type Need struct {
	Bytes int64
	Time  time.Duration
}

// String says it.
func (n *Need) String() string {
	return fmt.Sprintf("about %s on disk and %s", progress.Bytes(n.Bytes), roundTime(n.Time))
}

func roundTime(d time.Duration) string {
	switch {
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes", max(1, int((d+30*time.Second)/time.Minute)))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours", int((d+30*time.Minute)/time.Hour))
	}
	return fmt.Sprintf("%d days", int((d+12*time.Hour)/(24*time.Hour)))
}

// Shares of what the source holds, in bytes of it: the pack, PC A's disk and B's with a slot, what A
// held as a file, and for a medium the archive beside its applied edition while it is imported.
const (
	packShare   = 0.45
	pcShare     = 1.35
	goldenShare = 1.15
	mediumShare = 0.45
)

// How fast things go, in bytes per second, and starts of Windows, measured or (of Windows) usual
// figures. Emulation takes about slow times as long.
const (
	importRate = 60 << 20
	deployRate = 150 << 20
	setupTime  = 15 * time.Minute
	startTime  = 75 * time.Second
	agentTime  = 20 * time.Second
	slow       = 12
)

// How many times Windows starts beside the cuts, and what share of those times a Windows takes that
// holds next to nothing; one of usual bytes or more takes all of them.
const (
	windowsStarts = 14
	leastShare    = 0.2
	usual         = 12 << 30
)

// defaultSize is that of the disk of a medium, in bytes.
const defaultSize = 64 << 30

// estimate is what a trial of a source that holds bytes takes.
func estimate(o *Options, s *Source, kvm bool) *Need {
	held := float64(s.Bytes)
	n := &Need{Bytes: int64(held*(packShare+2*pcShare+goldenShare)) + int64(o.Cuts+4)*int64(o.ballast())<<21 + 2<<30}
	if until := slices.Index(Steps(), o.Until); until < 0 || until >= slices.Index(Steps(), "full") {
		disk := s.Size // which Windows fills, with what cannot be compressed
		if s.Medium {
			disk = orDefault(o.Size, defaultSize)
		}
		n.Bytes += max(0, disk-s.Bytes)
	}
	work := time.Duration(held*2/importRate+held*2/deployRate) * time.Second
	guests := windowsStarts*startTime + time.Duration(o.Cuts)*(agentTime+startTime/2)
	if s.Setup {
		n.Bytes += int64(held * mediumShare)
		guests += setupTime
	}
	if !kvm {
		guests *= slow
	}
	n.Time = work + time.Duration(float64(guests)*min(1, leastShare+held/usual))
	return n
}
