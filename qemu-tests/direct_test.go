package qemutests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/internal/testing/testlab"
	"troy/internal/testing/vmlab"
	"troy/server/protocol"
	"troy/trial/vm"
)

const (
	mayBeDirect  = "starts: the next 4 may go straight to Windows"
	directScreen = "Troy: starting Windows. Press Esc to start Troy first."
	grubBlock    = "::/EFI/Troy/grubenv"
)

// direct starts the PC from its own disk: GRUB starts Windows without the agent, for the nth time in
// a row.
func (p *agentPC) direct(n int) {
	p.t.Helper()
	serial, err := p.FromDisk(p.t.Context())
	if err != nil {
		p.t.Fatalf("%v\n%s", err, serial)
	}
	inOrder(p.t, "the serial line", serial, directScreen, windowsStarted)
	p.never(serial, "deploy:")
	windowsRan(p.t, p.PC)
	if all, err := p.server.Reports(); err != nil || len(all) != p.reports {
		p.t.Errorf("%d reports, want %d; %v", len(all), p.reports, err)
	}
	if block := p.readBlock(); !strings.Contains(block, fmt.Sprintf("\nmade=%d\ndirect=y\n", n)) {
		p.t.Errorf("GRUB's block after %d direct starts: %.120q", n, block)
	}
}

// readBlock is GRUB's environment block.
func (p *agentPC) readBlock() string {
	p.t.Helper()
	to := filepath.Join(p.t.TempDir(), "grubenv")
	mtools(p.t, "mcopy", "-n", "-i", p.Disk+"@@"+espOffset(p.t, p.Disk), grubBlock, to)
	b, err := os.ReadFile(to)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// writeBlock replaces it.
func (p *agentPC) writeBlock(block string) {
	p.t.Helper()
	from := filepath.Join(p.t.TempDir(), "grubenv")
	if err := os.WriteFile(from, []byte(block), 0o644); err != nil {
		p.t.Fatal(err)
	}
	mtools(p.t, "mcopy", "-o", "-i", p.Disk+"@@"+espOffset(p.t, p.Disk), from, grubBlock)
}

// agentNext takes from GRUB that it may start Windows without the agent.
func (p *agentPC) agentNext() {
	p.t.Helper()
	p.writeBlock(strings.Replace(p.readBlock(), "\ndirect=y\n", "\ndirect=n\n", 1))
}

// said is the last check-in.
func (p *agentPC) said() protocol.CheckIn {
	p.t.Helper()
	all, err := p.server.CheckIns()
	if err != nil || len(all) == 0 {
		p.t.Fatalf("%d check-ins, %v", len(all), err)
	}
	return all[len(all)-1]
}

// changed starts the PC from its own disk after a change of the virtual machine, with keys pressed at
// GRUB's screen: the agent comes.
func (p *agentPC) changed(change func(*vm.Config), key string, want ...string) protocol.Report {
	p.t.Helper()
	c, err := p.Config()
	if err != nil {
		p.t.Fatal(err)
	}
	change(c)
	m, err := vmlab.Start(p.t.Context(), c)
	if err != nil {
		p.t.Fatal(err)
	}
	defer m.Close()
	if key != "" {
		if _, err := m.Expect(p.t.Context(), directScreen); err != nil {
			p.t.Fatal(err)
		}
		if err := m.Press(p.t.Context(), key); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := m.Wait(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	windowsRan(p.t, p.PC)
	p.reports++
	inOrder(p.t, "the serial line", m.Log(), want...)
	return reported(p.t, p.server, p.reports)
}

// wokenByLAN is a firmware that says that the network switched the PC on: its table of the system
// (SMBIOS 3.7, 7.2) in place of QEMU's, which names the power switch.
func wokenByLAN(t *testing.T, c *vm.Config) {
	t.Helper()
	const lanRemote = 5
	table := make([]byte, 27)
	table[0], table[1], table[3], table[4], table[5], table[24] = 1, 27, 1, 1, 1, lanRemote
	for i := range 16 {
		table[8+i] = byte(i + 1) // the UUID: no placeholder
	}
	file := filepath.Join(t.TempDir(), "smbios")
	if err := os.WriteFile(file, append(table, "Troy\x00\x00"...), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Args = append(slices.Clone(c.Args), "-smbios", "file="+file)
}

// Starts of Windows without the agent, from the first one of a version on: what makes GRUB start
// Windows, and what the agent.
func TestDirectStart(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; packages agent and chainload try the same without a machine")
		return
	}
	t.Run("Secure Boot off", func(t *testing.T) { testDirectStart(t, false) })
	t.Run("Secure Boot", func(t *testing.T) { testDirectStart(t, true) })
}

func testDirectStart(t *testing.T, secure bool) {
	p := newAgentPC(t, "direct", secure, "merge: now, starts: direct")
	p.never(p.start(true, 1, "agent: 1 is on this machine's disk, copy a", "version 2 is committed", windowsStarted), mayBeDirect)
	p.start(false, 1, "nothing to do", "by BootNext", mayBeDirect, windowsStarted)
	for n := range 4 {
		p.direct(n + 1)
	}
	serial := p.start(false, 1, "without the agent: 4", "the last hand-off worked", "nothing to do", mayBeDirect, windowsStarted)
	p.never(serial, directScreen, "or may have run")
	if in := p.said(); in.Direct != 4 || in.Without != "" || in.Health != protocol.HealthGood {
		t.Errorf("check-in: %+v", in)
	}
	p.direct(1)

	p.times()

	t.Log("Esc, then a call over the network")
	p.changed(func(*vm.Config) {}, "esc", directScreen, "nothing to do", mayBeDirect, windowsStarted)
	r := p.changed(func(c *vm.Config) { wokenByLAN(t, c) }, "", "nothing to do", mayBeDirect, windowsStarted)
	if !slices.ContainsFunc(r.Steps, func(s protocol.Step) bool { return strings.Contains(s.Reason, "the machine was woken") }) {
		t.Errorf("the agent does not know what switched it on: %+v", r.Steps)
	}

	t.Log("a block that is torn, and one that is away")
	p.writeBlock(strings.Replace(p.readBlock(), "# GRUB", "\x00GRUB", 1))
	p.never(p.start(false, 1, "nothing to do", mayBeDirect, windowsStarted), directScreen)
	p.direct(1)
	mtools(t, "mdel", "-i", p.Disk+"@@"+espOffset(t, p.Disk), grubBlock)
	p.never(p.start(false, 1, "nothing to do", windowsStarted), directScreen)
	p.writeBlock("# GRUB Environment Block\n" + strings.Repeat("#", 999))

	t.Log("another rule")
	p.start(false, 1, mayBeDirect, windowsStarted)
	if _, err := p.server.Stop(); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.server, err = p.lab.Serve(t.Context(), testlab.Room{Version: 2, Keys: "merge: now, reset: boot"}); err != nil {
		t.Fatal(err)
	}
	p.reports = 0
	p.direct(1)
	p.agentNext()
	for range 2 {
		p.never(p.start(false, 1, "reset to version 2", windowsStarted), mayBeDirect)
	}
	soundESP(t, p.PC)
}
