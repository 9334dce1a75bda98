package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The command line as a value; no QEMU is started.
func TestCommandLine(t *testing.T) {
	t.Setenv(envQEMU, "")
	t.Setenv(envAccel, "")
	c := &Config{
		Firmware: &Firmware{Code: "/c.fd", Vars: "/v.fd"}, Namespace: "ns1", NoReboot: true,
		Disks: []Disk{
			{Path: "/a,b.img", BootIndex: 1}, {Path: "/n.img", Bus: NVMe, SectorSize: 4096},
			{Path: "/s.img", Bus: AHCI, ReadOnly: true}, {Path: "/u.img", Bus: USB, Serial: "X"}, {Path: "/w.img", Bus: USB}, {Path: "/l.img", WriteLog: "/l,g"},
		},
		NICs: []NIC{{User: "tftp=/t"}, {Model: "e1000e", Tap: "tap0", BootIndex: 2}},
		Args: []string{"-device", "x"},
	}
	got := shellLine(c.command("/my vars.fd", emulated))
	for _, want := range []string{
		"ip netns exec ns1 qemu-system-x86_64 ", " -no-reboot ", " -m 1024", " -smp 1", "-accel tcg,thread=single,",
		"if=pflash,unit=0,format=raw,readonly=on,file=/c.fd", "'if=pflash,unit=1,format=raw,file=/my vars.fd'",
		"file=/a,,b.img -device virtio-blk-pci,drive=disk0,serial=TROY0,bootindex=0",
		"nvme,drive=disk1,serial=TROY1,logical_block_size=4096,physical_block_size=4096",
		"file=/s.img,readonly=on -device ide-hd,bus=ide.2,drive=disk2",
		"if=none,id=disk5,driver=blklogwrites,", "file.file.filename=/l.img,", "log.filename=/l,,g -device virtio-blk-pci,drive=disk5",
		"usb-storage,bus=xhci.0,drive=disk3,serial=X", "usb-storage,bus=xhci.0,drive=disk4",
		"-netdev user,id=net0,tftp=/t -device virtio-net-pci,netdev=net0,mac=52:54:00:54:52:01,romfile= ",
		"-netdev tap,id=net1,ifname=tap0,script=no,downscript=no -device e1000e,netdev=net1,mac=52:54:00:54:52:02,romfile=,bootindex=1",
		" -device x",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("command line lacks %q:\n%s", want, got)
		}
	}
	secure := shellLine((&Config{Firmware: &Firmware{Code: "/c.fd", Secure: true}, Disks: []Disk{{Path: "/t.iso", Bus: CDROM}}}).command("/v.fd", emulated))
	for _, want := range []string{"-machine q35,smm=on", "-global driver=cfi.pflash01,property=secure,value=on", "ide-cd,bus=ide.0,drive=disk0"} {
		if !strings.Contains(secure, want) {
			t.Errorf("command line lacks %q:\n%s", want, secure)
		}
	}
	if n := strings.Count(got, "qemu-xhci"); n != 1 {
		t.Errorf("%d USB controllers, want 1", n)
	}
	if strings.Contains(got, "-kernel") || strings.Contains(shellLine((&Config{}).command("", emulated)), "pflash") {
		t.Error("a kernel or firmware that was not asked for")
	}
}

func TestFindFirmware(t *testing.T) {
	if _, err := findFirmware(t.TempDir(), plainFirmware()); !errors.Is(err, ErrNoFirmware) {
		t.Errorf("empty root: %v, want %v", err, ErrNoFirmware)
	}
	f, err := FindFirmware()
	if err != nil {
		t.Fatal(err)
	}
	if s, err := FindSecureFirmware(); err != nil || !s.Secure || s.Vars == f.Vars {
		t.Errorf("FindSecureFirmware = %+v, %v", s, err)
	}
	c := &Config{Dir: t.TempDir(), Firmware: f}
	vars, err := c.prepareVars()
	if err != nil || vars == f.Vars {
		t.Errorf("prepareVars = %q, %v; want a copy", vars, err)
	}
	kept := filepath.Join(c.Dir, "kept")
	if err := os.WriteFile(kept, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Vars = kept
	if vars, err = c.prepareVars(); vars != kept || err != nil {
		t.Errorf("prepareVars = %q, %v; want %q", vars, err, kept)
	}
	if b, _ := os.ReadFile(kept); string(b) != "mine" {
		t.Error("kept variables were overwritten")
	}
}

func TestSerialLog(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	l := newSerialLog(f, func(s string) { lines = append(lines, s) })
	raw := "\x1b[2J\x1b[01;01Hone\r\n\x1b[0mtw\x1b[35mo\r\n$ "
	for i := range len(raw) { // the worst cut: byte by byte
		if _, err := l.Write([]byte(raw[i : i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := l.text(), "one\ntwo\n$ "; got != want {
		t.Errorf("text = %q, want %q", got, want)
	}
	if want := []string{"one", "two"}; !slices.Equal(lines, want) {
		t.Errorf("lines = %q, want %q", lines, want)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(f.Name()); string(b) != raw || err != nil {
		t.Errorf("file = %q, %v; want all that was written", b, err)
	}
}

// start starts a VM with nothing to boot.
func start(t *testing.T, timeout time.Duration) *VM {
	t.Helper()
	v, err := Start(t.Context(), &Config{Dir: t.TempDir(), MemoryMiB: 64, CPUs: 1, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func TestTimeoutAndKill(t *testing.T) {
	v := start(t, 2*time.Second)
	if _, err := v.Expect(t.Context(), "never said"); !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), v.CommandLine()) {
		t.Errorf("Expect = %v, want %v and the command line", err, ErrTimeout)
	}
	if err := v.Wait(t.Context()); !errors.Is(err, ErrTimeout) {
		t.Errorf("Wait = %v, want %v", err, ErrTimeout)
	}
	v = start(t, time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := v.Expect(ctx, "never said"); !errors.Is(err, ErrTimeout) {
		t.Errorf("Expect with a short context = %v, want %v", err, ErrTimeout)
	}
	v.Kill()
	if err := v.Wait(t.Context()); !errors.Is(err, ErrKilled) {
		t.Errorf("Wait after Kill = %v, want %v", err, ErrKilled)
	}
	if exists("/proc/" + strconv.Itoa(v.cmd.Process.Pid)) {
		t.Error("QEMU is still there after Kill")
	}
}

func TestBadCommand(t *testing.T) {
	v, err := Start(t.Context(), &Config{Dir: t.TempDir(), Args: []string{"-no-such-option"}})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := v.Wait(t.Context()); !errors.Is(err, ErrEnded) || !strings.Contains(err.Error(), "no-such-option") {
		t.Errorf("Wait = %v, want %v and QEMU's own words", err, ErrEnded)
	}
	t.Setenv(envQEMU, "/no/such/qemu")
	if _, err := Start(t.Context(), &Config{Dir: t.TempDir()}); err == nil {
		t.Error("Start without QEMU succeeds")
	}
}

// A path is one word for the monitor, whatever is in it.
func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"/a b/c.png": `"/a b/c.png"`, `it "is" \ü`: `"it \"is\" \\ü"`, "a\nb\r": `"a\nb\r"`} {
		if got := Quote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
