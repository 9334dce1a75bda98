package chainload

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"troy/chainload/efiboot"
	"troy/chainload/internal/grubenv"
	"troy/internal/guid"
	"troy/internal/testing/efitest"
)

// withAgent puts the agent on the ESP, as entry 7, first.
func (m *machine) withAgent(t testing.TB) (env string) {
	t.Helper()
	dir := filepath.Join(m.opts.espDir, "EFI", "troy") // another case than ours
	if err := os.Rename(filepath.Join(m.opts.espDir, "efi"), filepath.Join(m.opts.espDir, "EFI")); err != nil {
		t.Fatal(err)
	}
	m.dir = filepath.Join(m.opts.espDir, "EFI", "Microsoft", "BOOT")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	env = filepath.Join(dir, "grubenv")
	if err := os.WriteFile(env, grubenv.New(), 0o600); err != nil {
		t.Fatal(err)
	}
	m.fw.Vars["Boot0007"] = agentOption(t, efiboot.HardDrive(m.opts.ESP), `\EFI\Troy\a\shimx64.efi`, efiboot.Active)
	m.fw.Vars["BootOrder"] = efitest.Words(7)
	return env
}

func agentOption(t testing.TB, hd efiboot.HardDrive, path string, attributes uint32) []byte {
	t.Helper()
	b, err := (&efiboot.LoadOption{Attributes: attributes, Description: "Troy", Path: []efiboot.Node{hd.Node(), efiboot.FilePath(path)}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func next(t testing.TB, env string) string {
	t.Helper()
	b, err := os.ReadFile(env)
	if err != nil {
		t.Fatal(err)
	}
	v, err := grubenv.Get(b, grubenv.Next)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A firmware that takes no variable at all: GRUB starts Windows.
func TestHandOffByGRUB(t *testing.T) {
	m := newMachine(t)
	env := m.withAgent(t)
	for _, name := range []string{"Boot0000", "BootOrder", "BootNext"} {
		m.fw.Refuse[name] = syscall.EROFS
	}
	r := m.handOff(t)
	if r.Method != ByGRUB || next(t, env) != "windows" || !errors.Is(errors.Join(r.Notes...), syscall.EROFS) {
		t.Errorf("%+v, next %q", r, next(t, env))
	}
	if l, err := Look(m.opts); err != nil || !l.GRUB || l.BootNext {
		t.Errorf("left %+v, %v", l, err)
	}
	// The order is taken back when another method does.
	clear(m.fw.Refuse)
	if r := m.handOff(t); r.Method != ByBootNext || next(t, env) != "" || len(r.Notes) != 0 {
		t.Errorf("%+v, next %q", r, next(t, env))
	}
	if l, err := Look(m.opts); err != nil || l.GRUB || !l.BootNext {
		t.Errorf("left %+v, %v", l, err)
	}
	delete(m.fw.Vars, "BootNext")
	m.opts.Methods = []Method{ByGRUB, ByBootOrder}
	if r := m.handOff(t); r.Method != ByGRUB || len(r.Notes) != 0 || m.fw.Vars["BootNext"] != nil {
		t.Errorf("%+v", r)
	}
}

// A firmware that lost its entries and has no room for new ones: it started the agent's copy by the
// default file of the disk, and does so again.
func TestGRUBWithoutEntries(t *testing.T) {
	m := newMachine(t)
	env := m.withAgent(t)
	clear(m.fw.Vars)
	pci := []efiboot.Node{{Type: 1, SubType: 1, Data: []byte{0, 3}}}
	m.entry(t, 0, &efiboot.LoadOption{Attributes: efiboot.Active | 0x100, Description: "UiApp", Path: pci})
	m.entry(t, 1, &efiboot.LoadOption{Attributes: efiboot.Active, Description: "UEFI SSD", Path: pci})
	m.fw.Vars["BootOrder"], m.fw.Vars["BootCurrent"] = efitest.Words(0, 1), efitest.Words(1)
	m.fw.Most = len(m.fw.Vars)
	m.opts.AgentFirst = true
	if _, err := HandOff(context.Background(), m.opts); !errors.Is(err, ErrFirmware) || !errors.Is(err, ErrFull) {
		t.Errorf("an agent from a stick: %v", err)
	}
	m.opts.FromCopy = true
	r := m.handOff(t)
	if r.Method != ByGRUB || next(t, env) != "windows" || !errors.Is(errors.Join(r.Notes...), ErrFull) || r.Leaves != "" {
		t.Errorf("%+v, next %q", r, next(t, env))
	}
}

// GRUB is not asked where it is not what starts next.
func TestGRUBNotFirst(t *testing.T) {
	for name, change := range map[string]func(m *machine, env string){
		"another first": func(m *machine, _ string) {
			m.fw.Vars["Boot0003"] = agentOption(t, efiboot.HardDrive(m.opts.ESP), `\EFI\BOOT\BOOTX64.EFI`, efiboot.Active)
			m.fw.Vars["BootOrder"] = efitest.Words(3, 7)
		},
		"another ESP": func(m *machine, _ string) {
			m.fw.Vars["Boot0007"] = agentOption(t, efiboot.HardDrive{Number: 1, GUID: guid.GUID{9}}, `\EFI\Troy\a\shimx64.efi`, efiboot.Active)
		},
		"switched off": func(m *machine, _ string) {
			m.fw.Vars["Boot0007"] = agentOption(t, efiboot.HardDrive(m.opts.ESP), `\EFI\Troy\a\shimx64.efi`, 0)
		},
		"not in the order": func(m *machine, _ string) { m.fw.Vars["BootOrder"] = efitest.Words(8) },
		"no GRUB":          func(_ *machine, env string) { os.Remove(env) },
	} {
		m := newMachine(t)
		env := m.withAgent(t)
		change(m, env)
		m.fw.Refuse["BootNext"] = syscall.ENOSPC
		r := m.handOff(t)
		if r.Method != ByBootOrder {
			t.Errorf("%s: %+v", name, r)
		}
		if b, err := os.ReadFile(env); err == nil && bytes.Contains(b, []byte("windows")) {
			t.Errorf("%s: GRUB was asked", name)
		}
	}
	// A number in BootOrder without an entry is passed over by firmware.
	m := newMachine(t)
	m.withAgent(t)
	m.fw.Vars["BootOrder"] = efitest.Words(2, 7)
	m.fw.Refuse["BootNext"] = syscall.ENOSPC
	if r := m.handOff(t); r.Method != ByGRUB {
		t.Errorf("%+v", r)
	}
}

// A block that is none is made again, whatever it is.
func TestGRUBBlockMended(t *testing.T) {
	for _, size := range []int{0, 512, 1023, 1024, 1025, 4096} {
		m := newMachine(t)
		env := m.withAgent(t)
		if err := os.WriteFile(env, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		m.fw.Refuse["BootNext"] = syscall.ENOSPC
		if r := m.handOff(t); r.Method != ByGRUB || next(t, env) != "windows" {
			t.Errorf("%d zeros: %+v, next %q", size, r, next(t, env))
		}
	}
}

// The last way: Windows is first already, and nothing has to be written.
func TestPlainReset(t *testing.T) {
	m := newMachine(t)
	m.handOff(t)
	m.fw.Vars["BootOrder"] = efitest.Words(0, 5)
	for _, name := range []string{"Boot0000", "BootOrder", "BootNext"} {
		m.fw.Refuse[name] = syscall.EROFS
	}
	delete(m.fw.Vars, "BootNext")
	if r := m.handOff(t); r.Method != ByBootOrder || len(r.Notes) != 1 {
		t.Errorf("%+v", r)
	}
	m.fw.Vars["BootOrder"] = efitest.Words(5, 0)
	if _, err := HandOff(context.Background(), m.opts); !errors.Is(err, ErrFirmware) || !errors.Is(err, syscall.EROFS) {
		t.Error(err)
	}
}

func TestAgentEntry(t *testing.T) {
	m := newMachine(t)
	m.withAgent(t)
	m.fw.Vars["BootOrder"] = efitest.Words(2, 7)
	m.fw.Vars["BootCurrent"] = efitest.Words(2) // a stick
	agent := uint16(7)
	m.opts.AgentFirst, m.opts.AgentEntry = true, &agent
	if r := m.handOff(t); len(r.Changes) != 1 || !bytes.Equal(m.fw.Vars["BootOrder"], efitest.Words(7, 2, 0)) {
		t.Errorf("%+v, order %x", r, m.fw.Vars["BootOrder"])
	}
	// When Windows is to be first, the agent is not put there before.
	m.opts.Methods = []Method{ByBootOrder}
	m.fw.Writes = nil
	if m.handOff(t); !slices.Equal(m.fw.Writes, []string{"BootOrder"}) || !bytes.Equal(m.fw.Vars["BootOrder"], efitest.Words(0, 7, 2)) {
		t.Errorf("writes %q, order %x", m.fw.Writes, m.fw.Vars["BootOrder"])
	}
	m.opts.Methods = []Method{"by magic"}
	if _, err := HandOff(context.Background(), m.opts); !errors.Is(err, ErrOptions) {
		t.Error(err)
	}
}

func TestLookWithoutESP(t *testing.T) {
	m := newMachine(t)
	m.opts.espDir = filepath.Join(t.TempDir(), "none")
	if _, err := Look(m.opts); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// Firmware that keeps BootNext and starts the agent all the same: the second
// start takes GRUB, the third one knows that it worked.
func TestFirmwareIgnoresBootNext(t *testing.T) {
	m := newMachine(t)
	env := m.withAgent(t)
	m.opts.AgentFirst = true
	m.fw.Vars["BootCurrent"] = efitest.Words(7)
	var h Health
	ran := false
	start := func() (Judgement, *Result) {
		left, err := Look(m.opts)
		if err != nil {
			t.Fatal(err)
		}
		d := Judge(h, Seen{Version: "1", Ran: ran, Left: left})
		m.opts.Methods = d.Methods
		r := m.handOff(t)
		h = d.Health.HandedOff("1", r.Method, time.Time{})
		return d, r
	}
	if _, r := start(); r.Method != ByBootNext {
		t.Fatalf("%+v", r)
	}
	if d, r := start(); r.Method != ByGRUB || d.worked != "" || next(t, env) != "windows" {
		t.Fatalf("%+v, %+v", d, r)
	}
	if err := os.WriteFile(env, grubenv.New(), 0o600); err != nil { // GRUB forgets the order and starts Windows
		t.Fatal(err)
	}
	ran = true
	d, r := start()
	if r.Method != ByGRUB || d.worked != ByGRUB || !bytes.Equal(m.fw.Vars["BootOrder"], efitest.Words(7, 0)) {
		t.Fatalf("%+v, %+v, order %x", d, r, m.fw.Vars["BootOrder"])
	}
}
