package qemutests

import (
	"os"
	"strings"
	"testing"

	"troy/chainload/release"
	"troy/chainload/secureboot"
	"troy/internal/guid"
	"troy/internal/testing/testlab"
	"troy/internal/testing/vmlab"
	"troy/trial/vm"
)

// The level of SBAT is raised, as an update of Windows may do: what package secureboot says of shim
// and GRUB is what they do. OVMF's store of variables is changed by the test, because no operating
// system may write this one.
func TestRaisedSBATLevel(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1")
		return
	}
	const vendor = "605dab50-e046-4300-abb6-3dd810dd8b23"
	shim := program(t, testlab.Loader(release.Shim), nil)
	beside, err := testlab.GRUBBeside()
	grub := program(t, "", beside)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		level      string
		shim, grub bool   // they start
		says       string // on the serial line
	}{
		"raised, and enough": {"sbat,1,2099010100\nshim,1\ngrub,1\n", true, true, `PROBE: keys: Secure Boot true, level "sbat,1,2099010100\\nshim,1\\ngrub,1\\n"`},
		"shim is too old":    {"sbat,1,2099010100\nshim,99\n", false, true, `SBAT self-check failed`},
		"GRUB is too old":    {"sbat,1,2099010100\ngrub,99\n", true, false, `Security Violation|Security Policy Violation`},
	} {
		t.Run(name, func(t *testing.T) {
			f := &secureboot.Firmware{On: true, Level: c.level}
			if f.ShimRefuses(shim) == nil != c.shim || f.ShimRefuses(grub) == nil != c.grub {
				t.Errorf("shim: %v, GRUB: %v", f.ShimRefuses(shim), f.ShimRefuses(grub))
			}
			m := newESPMachine(t, "keys", true)
			if err := vmlab.NewVars(m.config.Vars, m.config.Firmware); err != nil {
				t.Fatal(err)
			}
			id, err := guid.Parse(vendor)
			if err != nil {
				t.Fatal(err)
			}
			const bootOnly = 3 // non-volatile, for boot services alone
			if err := vm.SetVariable(m.config.Vars, "SbatLevel", id, bootOnly, []byte(c.level)); err != nil {
				t.Fatal(err)
			}
			m.shows(t, c.says, c.shim && c.grub)
		})
	}
}

// program reads a boot loader.
func program(t *testing.T, path string, b []byte) *secureboot.Program {
	t.Helper()
	if path != "" {
		var err error
		if b, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	p, err := secureboot.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// shows starts the machine, waits for a line, and looks whether the probe ran.
func (m *espMachine) shows(t *testing.T, line string, probe bool) {
	t.Helper()
	ran := false
	m.config.OnLine = func(line string) { ran = ran || strings.Contains(line, "PROBE: ") }
	machine, err := vm.Start(t.Context(), m.config)
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	if _, err := machine.Expect(t.Context(), line); err != nil {
		t.Fatal(err)
	}
	machine.Kill()
	if ran != probe {
		t.Errorf("the agent ran: %t, want %t", ran, probe)
	}
}
