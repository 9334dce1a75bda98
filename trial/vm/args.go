package vm

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Settings read from the environment, see the package comment.
const (
	envQEMU  = "TROY_QEMU"
	envAccel = "TROY_QEMU_ACCEL"
	envKVM   = "TROY_KVM"
)

// cpu lacks cmpxchg16b, which Linux uses in its allocator where it can: after one, QEMU 7.2
// computes the flags from an outdated operation, and an interrupt at that moment saves and restores
// nonsense (seen: EFLAGS c103aa42, bit 17 is virtual-8086 mode, and a double fault).
const cpu = "max,-cx16"

// kvmCPU is the host's, with what Windows takes for the interface of Hyper-V: without it, its clock
// and its waiting cost much of a core.
const kvmCPU = "host,hv-relaxed,hv-vapic,hv-spinlocks=0x1fff,hv-time"

// command returns the whole command line. vars is the file of the firmware's variables, accel
// QEMU's -accel.
func (c *Config) command(vars, accel string) []string {
	args := []string{
		orDefault(os.Getenv(envQEMU), "qemu-system-x86_64"),
		"-name", c.name(),
		"-nodefaults", "-no-user-config",
		"-machine", "q35" + c.secureMachine(), "-accel", accel, "-cpu", c.processor(),
		"-smp", strconv.Itoa(orDefault(c.CPUs, 1)), "-m", strconv.Itoa(orDefault(c.MemoryMiB, 1024)),
		"-display", "none", "-serial", "stdio",
	}
	if c.NoReboot {
		args = append(args, "-no-reboot")
	}
	if c.Namespace != "" {
		args = append([]string{"ip", "netns", "exec", c.Namespace}, args...)
	}
	if c.Firmware != nil {
		args = append(args,
			"-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+Escape(c.Firmware.Code),
			"-drive", "if=pflash,unit=1,format=raw,file="+Escape(vars))
		if c.Firmware.Secure {
			args = append(args, "-global", "driver=cfi.pflash01,property=secure,value=on")
		}
	}
	if c.Kernel != "" {
		args = append(args, "-kernel", c.Kernel, "-append", c.Cmdline)
		if c.Initrd != "" {
			args = append(args, "-initrd", c.Initrd)
		}
	}
	args = append(args, c.diskArgs()...)
	args = append(args, c.nicArgs()...)
	return append(args, c.Args...)
}

func (c *Config) processor() string {
	if c.KVM {
		return kvmCPU
	}
	return cpu
}

// secureMachine is what a machine needs whose firmware guards its variables.
func (c *Config) secureMachine() string {
	if c.Firmware != nil && c.Firmware.Secure {
		return ",smm=on"
	}
	return ""
}

func (c *Config) diskArgs() []string {
	var args []string
	usb := false
	for i, d := range c.Disks {
		id := fmt.Sprintf("disk%d", i)
		// cache=unsafe: flushes are not passed on to the host's disk. The host's
		// memory outlives QEMU, so nothing that the guest wrote is lost by a kill.
		drive := fmt.Sprintf("if=none,id=%s,format=raw,cache=unsafe,discard=unmap,file=%s", id, Escape(d.Path))
		if d.ReadOnly || d.Bus == CDROM {
			drive += ",readonly=on"
		}
		if d.WriteLog != "" {
			// Flushes must get as far as the log.
			drive = fmt.Sprintf("if=none,id=%s,driver=blklogwrites,file.driver=raw,file.cache.no-flush=on,file.file.driver=file,file.file.filename=%s,"+
				"log.driver=file,log.cache.no-flush=on,log.filename=%s", id, Escape(d.Path), Escape(d.WriteLog))
		}
		if d.Bus == USB && !usb {
			usb = true
			args = append(args, "-device", "qemu-xhci,id=xhci")
		}
		if d.Bus == Card {
			args = append(args, "-device", "sdhci-pci", "-drive", drive, "-device", "sd-card,drive="+id)
			continue
		}
		args = append(args, "-drive", drive, "-device", d.device(id, i))
	}
	return args
}

func (d *Disk) device(id string, index int) string {
	var dev string
	switch d.Bus {
	case NVMe:
		dev = "nvme"
	case AHCI:
		dev = fmt.Sprintf("ide-hd,bus=ide.%d", index)
	case CDROM:
		dev = fmt.Sprintf("ide-cd,bus=ide.%d", index)
	case USB:
		dev = "usb-storage,bus=xhci.0"
	default:
		dev = "virtio-blk-pci"
	}
	dev += fmt.Sprintf(",drive=%s,serial=%s", id, orDefault(d.Serial, "TROY"+strconv.Itoa(index)))
	if d.SectorSize != 0 || d.PhysicalSectorSize != 0 {
		logical := orDefault(d.SectorSize, 512)
		dev += fmt.Sprintf(",logical_block_size=%d,physical_block_size=%d", logical, orDefault(d.PhysicalSectorSize, logical))
	}
	return dev + bootIndex(d.BootIndex)
}

func (c *Config) nicArgs() []string {
	var args []string
	for i, n := range c.NICs {
		id := fmt.Sprintf("net%d", i)
		netdev := fmt.Sprintf("tap,id=%s,ifname=%s,script=no,downscript=no", id, n.Tap)
		if n.Tap == "" {
			netdev = "user,id=" + id
			if n.User != "" {
				netdev += "," + n.User
			}
		}
		if n.Unplugged {
			netdev = fmt.Sprintf("hubport,id=%s,hubid=%d", id, i)
		}
		mac := orDefault(n.MAC, fmt.Sprintf("52:54:00:54:52:%02x", i+1))
		device := fmt.Sprintf("%s,netdev=%s,mac=%s,romfile=%s%s", orDefault(n.Model, "virtio-net-pci"), id, mac, Escape(n.ROM), bootIndex(n.BootIndex))
		args = append(args, "-netdev", netdev, "-device", device)
	}
	return args
}

func bootIndex(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(",bootindex=%d", n-1)
}

// Escape protects commas in a value of a QEMU option list.
func Escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// shellLine is the command line as it can be pasted into a shell.
func shellLine(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		if a == "" || strings.ContainsAny(a, " \t\n\"'`$&|;<>()*?[]#~!\\{}") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		quoted[i] = a
	}
	return strings.Join(quoted, " ")
}
