package vm

import (
	"os"
	"time"
)

// Config says what a virtual PC is made of. Dir is required, and something to
// boot: Kernel, or Firmware with a Disk or NIC.
type Config struct {
	Name string // for the names of files and in messages; empty = "vm"
	Dir  string // an existing folder for the serial log and the firmware's variables

	Kernel  string // started by QEMU itself, without firmware
	Initrd  string
	Cmdline string // for Kernel

	Firmware *Firmware // UEFI; nil = SeaBIOS
	Vars     string    // file of the firmware's variables, made if absent, kept; empty = a fresh one

	Disks []Disk
	NICs  []NIC

	Namespace string // network namespace QEMU runs in, see [Network]; empty = the caller's

	MemoryMiB int // 0 = 1024
	CPUs      int // 0 = 1: see emulated in accel.go before asking for more

	// KVM has the processor run the guest, see [TryKVM], with its own features and, for Windows, with
	// what Hyper-V offers its guests. False = as TROY_KVM says.
	KVM bool

	NoReboot bool          // a reset ends the VM
	Timeout  time.Duration // life of QEMU; 0 = 3 minutes

	// InitLimit is how long a kernel may run until the guest's own programs say their first line,
	// see [ErrHungBeforeInit]; 0 = a minute.
	InitLimit time.Duration

	// Stdin is what is typed on the serial line; nil = nothing.
	Stdin *os.File

	OnLine func(line string) // called with each line of the serial log, one at a time
	Args   []string          // further arguments for QEMU
}

// Bus is how a disk is attached.
type Bus int

// The buses that the tests use.
const (
	VirtioBlk Bus = iota
	NVMe
	AHCI
	USB
	CDROM // a drive with the image as its disc
	Card  // an SD card in a built-in slot, one at most; its size is a power of two
)

// Disk is a raw image file.
type Disk struct {
	Path       string
	Bus        Bus
	ReadOnly   bool
	Serial     string // serial number the guest sees; empty = "TROY" and its index
	SectorSize int    // logical sector size in bytes; 0 = 512
	// PhysicalSectorSize in bytes; 0 = the logical one.
	PhysicalSectorSize int
	// WriteLog is an existing file to which QEMU adds every write and flush of the guest, in the
	// format of dm-log-writes; empty = none.
	WriteLog string
	// BootIndex makes the firmware put the disk at that place of its boot order
	// at every start; 0 = leave the order alone, 1 is the first place.
	BootIndex int
}

// NIC is a network interface.
type NIC struct {
	Model string // QEMU device; empty = virtio-net-pci. Another: e1000e
	Tap   string // tap of the namespace; empty = user networking, the host's 127.0.0.1 is 10.0.2.2
	MAC   string // empty = 52:54:00:54:52:01 and counting
	// Unplugged: whatever is sent is lost, and nothing is received.
	Unplugged bool
	// Options for QEMU's user networking, such as "tftp=DIR,bootfile=FILE".
	User string
	ROM  string // option ROM (iPXE); empty = none
	// BootIndex as of [Disk].
	BootIndex int
}

func (c *Config) name() string { return orDefault(c.Name, "vm") }

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
