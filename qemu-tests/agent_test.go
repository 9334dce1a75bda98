package qemutests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"troy/chainload/release"
	"troy/diskwriter/blockdev"
	"troy/initramfs"
	"troy/internal/testing/testlab"
	"troy/server/protocol"
	"troy/trial/vm"
)

// agentPC is a PC whose server has it keep a copy of the agent on its own disk.
type agentPC struct {
	*testlab.PC
	t       *testing.T
	lab     *testlab.Lab
	server  *testlab.Server
	release testlab.Release
	reports int
}

func newAgentPC(t *testing.T, name string, secure bool, keys string) *agentPC {
	t.Helper()
	bootManager := "" // Linux without a signature
	if secure {
		bootManager = testlab.Loader(release.Shim)
	}
	p := &agentPC{t: t, lab: smallLab(t, bootManager)}
	var err error
	if p.release, err = p.lab.SignedMedia(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.publish("1", p.release)
	if p.server, err = p.lab.Serve(t.Context(), testlab.Room{Version: 2, Keys: keys}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.server.Stop() })
	if p.PC, err = p.lab.NewPC(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	at := p.Disk + "@@" + espOffset(t, p.Disk)
	mtools(t, "mdel", "-i", at, "::/EFI/BOOT/BOOTX64.EFI") // or the firmware would not start the stick by itself
	if p.Secure = secure; secure {
		signBootManager(t, p.PC)
	}
	return p
}

func (p *agentPC) publish(version string, r testlab.Release) {
	p.t.Helper()
	if err := p.lab.PublishAgent(p.t.Context(), version, r); err != nil {
		p.t.Fatal(err)
	}
}

// overlay publishes a release whose initramfs has one more file.
func (p *agentPC) overlay(version string, f initramfs.File) {
	p.t.Helper()
	r, err := p.release.Overlay("agent-"+version, f)
	if err != nil {
		p.t.Fatal(err)
	}
	p.publish(version, r)
}

// signBootManager puts a signed GRUB in the place of Windows Boot Manager.
func signBootManager(t *testing.T, pc *testlab.PC) {
	t.Helper()
	at := pc.Disk + "@@" + espOffset(t, pc.Disk)
	for name, from := range signedFiles(t, "EFI/Microsoft/Boot", "bootmgfw.efi", "echo '"+windowsStarted+"'\nhalt\n", nil) {
		if strings.HasPrefix(name, "EFI/Microsoft/") {
			mtools(t, "mcopy", "-o", "-i", at, from, "::/"+name)
		}
	}
}

func espOffset(t *testing.T, disk string) string {
	t.Helper()
	return strconv.FormatInt(entryOfESP(t, disk).Start, 10)
}

func entryOfESP(t *testing.T, disk string) blockdev.Entry {
	t.Helper()
	dev, err := blockdev.Open(disk, &blockdev.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	table, err := dev.ReadTable()
	if err != nil {
		t.Fatal(err)
	}
	return table.ByType(blockdev.TypeESP)[0]
}

func mtools(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "MTOOLSRC=/dev/null", "MTOOLS_SKIP_CHECK=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
}

// start starts the PC from the stick or from its own disk and waits until Windows was started. The
// serial line has to say this, and reports have to come.
func (p *agentPC) start(stick bool, reports int, want ...string) (serial string) {
	p.t.Helper()
	from := p.FromDisk
	if stick {
		from = p.FromUSB
	}
	serial, err := from(p.t.Context())
	if err != nil {
		p.t.Fatalf("%v\n%s", err, serial)
	}
	windowsRan(p.t, p.PC)
	p.reports += reports
	if r := reported(p.t, p.server, p.reports); r.ExitCode != 0 || r.Version != 2 || r.Outcome == protocol.OutcomeFailed {
		p.t.Errorf("report: %+v", r)
	}
	inOrder(p.t, "the serial line", serial, want...)
	return serial
}

// never fails when the serial line says that.
func (p *agentPC) never(serial string, lines ...string) {
	p.t.Helper()
	for _, line := range lines {
		if strings.Contains(serial, line) {
			p.t.Errorf("the serial line says %q:\n%s", line, serial)
		}
	}
}

// A PC is started from a stick once. From then on the firmware starts the agent from the PC's own
// disk, and the agent replaces itself there: shim, GRUB, kernel and initramfs as Debian signed
// them, releases as the admin did.
func TestAgentOnDisk(t *testing.T) {
	p := newAgentPC(t, "own", false, "merge: now")
	p.start(true, 1, "agent: 1 is on this machine's disk, copy a", "version 2 is committed", windowsStarted)
	p.overlay("2", marker("2"))
	serial := p.start(false, 2,
		"nothing to do", "agent: the next start tries 2, by BootNext", "restarting into the new agent",
		"agent 2 is on trial in copy b", "agent: keeping the new one", windowsStarted)
	p.never(serial, "version 2 is committed")
	soundESP(t, p.PC)
	if !soak() {
		return
	}
	p.lostEntries()
	p.settled()
	p.deadAgent()
	p.retried()
	soundESP(t, p.PC)
}

// A release whose kernel does not start, right after the installation.
func TestAgentDeadKernel(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1")
		return
	}
	p := newAgentPC(t, "dead", false, "merge: now")
	p.start(true, 1, "agent: 1 is on this machine's disk, copy a", windowsStarted)
	p.deadKernel()
	soundESP(t, p.PC)
}

// All that where the firmware enforces Secure Boot and no key is enrolled.
func TestAgentOnDiskSecure(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1")
		return
	}
	p := newAgentPC(t, "secure", true, "merge: now")
	p.start(true, 1, "agent: 1 is on this machine's disk, copy a", windowsStarted)
	p.overlay("2", marker("2"))
	p.start(false, 2, "agent: the next start tries 2, by BootNext", "agent 2 is on trial in copy b", "agent: keeping the new one", windowsStarted)
	p.lostEntries()
	p.settled()
	p.deadKernel()
	soundESP(t, p.PC)
}

// lostEntries clears the firmware's variables, as an update of the firmware may: it starts what
// lies on the ESP under the default name, which is the agent, and the agent starts Windows.
func (p *agentPC) lostEntries() {
	p.t.Helper()
	if err := p.ClearVariables(); err != nil {
		p.t.Fatal(err)
	}
	serial := p.start(false, 1, "nothing to do", `hand-off: the boot order is Boot`, `"Troy`, "by BootNext", windowsStarted)
	p.never(serial, "without Troy", "without the agent")
}

// marker is a file that makes an initramfs another one.
func marker(text string) initramfs.File {
	return initramfs.File{Name: "etc/agent-release", Data: []byte(text)}
}

// settled starts the PC with nothing to do.
func (p *agentPC) settled() {
	p.t.Helper()
	p.never(p.start(false, 1, "nothing to do", windowsStarted), "deploy: agent")
}

// deadKernel publishes release 3, whose kernel does not start: GRUB starts Windows in its place,
// the next start is the old agent's, and it does not try again.
func (p *agentPC) deadKernel() {
	p.t.Helper()
	r, err := p.release.Change("agent-3", "vmlinuz", func(b []byte) ([]byte, error) { return b[:1<<10], nil })
	if err != nil {
		p.t.Fatal(err)
	}
	p.publish("3", r)
	p.start(false, 1, "agent: the next start tries 3, by BootNext", windowsStarted)
	serial := p.start(false, 1, "agent 3 did not come up on its trial", "order it again to retry", windowsStarted)
	p.never(serial, "the next start tries")
	serial = p.start(false, 1, "order it again to retry", windowsStarted)
	p.never(serial, "the next start tries", "did not come up on its trial;")
}

// deadAgent publishes release 4, in which the agent is no program: init has nothing to run, and the
// kernel restarts the machine. That start is the old agent's.
func (p *agentPC) deadAgent() {
	p.t.Helper()
	p.overlay("4", initramfs.File{Name: "bin/deploy", Data: []byte("no program"), Mode: 0o755})
	c, err := p.Config()
	if err != nil {
		p.t.Fatal(err)
	}
	m, err := vm.Start(p.t.Context(), c)
	if err != nil {
		p.t.Fatal(err)
	}
	defer m.Close()
	for _, line := range []string{"agent: the next start tries 4, by BootNext", "Kernel panic"} {
		if _, err := m.Expect(p.t.Context(), line); err != nil {
			p.t.Fatal(err)
		}
	}
	m.Kill()
	p.reports++
	p.start(false, 1, "agent 4 did not come up on its trial", "order it again to retry", windowsStarted)
}

// retried publishes a good release after bad ones.
func (p *agentPC) retried() {
	p.t.Helper()
	p.overlay("5", marker("5"))
	p.start(false, 2, "agent: the next start tries 5", "agent 5 is on trial", "agent: keeping the new one", windowsStarted)
	p.settled()
}

// soundESP asks fsck.fat about the ESP.
func soundESP(t *testing.T, pc *testlab.PC) {
	t.Helper()
	volume := filepath.Join(t.TempDir(), "esp")
	if err := testlab.CutESP(t.Context(), pc.Disk, volume); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "fsck.fat", "-n", volume).CombinedOutput(); err != nil {
		t.Errorf("fsck.fat: %v\n%s", err, out)
	}
}
