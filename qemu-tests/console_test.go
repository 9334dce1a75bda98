package qemutests

import (
	"strings"
	"testing"

	"troy/internal/testing/vmlab"
)

// Whoever sits at the PC comes to no prompt: not of GRUB, with keys that open its menu, its editor
// and its command line, and not of a shell, with those that interrupt a program. Windows starts.
func TestNoPrompt(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; package agent tries the supervisor without a machine")
		return
	}
	pc, _ := start(t, "keys", "")
	config, err := pc.USBConfig()
	if err != nil {
		t.Fatal(err)
	}
	m, err := vmlab.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, step := range []struct{ after, keys string }{
		{`Welcome to GRUB`, "\x1bcce\x1b\x1bc"}, {`Troy: loading from this medium`, "c\x1b\x1b"},
		{`deploy: disk: `, "\x03\x03\x1a\x1c\x04"}, {`deploy: network: `, "\x03\x1c\n\n"}, {`STANDIN: powering off`, ""},
	} {
		if _, err := m.Expect(t.Context(), step.after); err != nil {
			t.Fatalf("%v\n%s", err, m.Log())
		}
		if step.keys == "" {
			continue
		}
		if err := m.Send(step.keys); err != nil {
			t.Fatal(err)
		}
	}
	for _, prompt := range []string{"grub>", "\n$ ", "\n# ", "Enter username"} {
		if strings.Contains(m.Log(), prompt) {
			t.Errorf("the console shows %q:\n%s", prompt, m.Log())
		}
	}
}
