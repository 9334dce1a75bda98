package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"troy/server/lab"
	"troy/server/protocol"
)

// firstRoom is somebody who types what docs/first-room.md says.
type firstRoom struct {
	*servedLab
	typed int
}

// TestFirstRoom types the lines of docs/first-room.md in their order, beside a PC that does what the
// page says of it. The boot media need a boot bundle: package packaging makes those.
func TestFirstRoom(t *testing.T) {
	h := newHistory(t, seeded(t)) // for its two disks
	must(t, os.RemoveAll(h.store))
	t.Setenv("TROY_STORE", "") // the page sets both
	t.Setenv("TROY_KEYS", "")
	f := &firstRoom{servedLab: &servedLab{history: h, lab: filepath.Join(h.store, lab.FileName)}}
	_, page, found := strings.Cut(manual(t)["docs/first-room.md"], "\n## By hand\n")
	if !found {
		t.Fatal("docs/first-room.md has no part \"By hand\"")
	}
	lines, _ := codeOf(page)
	for _, line := range lines {
		f.line(t, line)
	}
	if o := f.checkInOf(t, 2); !begins(&o) || wanted(&o) != 1 {
		t.Errorf("after all: %+v", o)
	}
	if f.typed < 15 {
		t.Errorf("the page has %d commands", f.typed)
	}
}

// checkInOf is a check-in of the PC that holds a version of the page's image.
func (f *firstRoom) checkInOf(t *testing.T, version int) (o protocol.Order) {
	t.Helper()
	in := protocol.CheckIn{Protocol: protocol.Version, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: newMAC}}}, Health: protocol.HealthGood}
	if version > 0 {
		in.Image, in.Version = "win11-lab", version
	}
	must(t, f.machine(t, newMAC).PostJSON(t.Context(), protocol.PathCheckIn, in, &o))
	return o
}

// line types one, with this test's folders in the place of the page's.
func (f *firstRoom) line(t *testing.T, line string) {
	t.Helper()
	in := strings.NewReplacer("/srv/troy", f.store, "/media/stick", filepath.Join(f.dir, "stick"), "/images/base.vhdx", f.base, "/images/child.vhdx", f.child)
	if sets, ok := strings.CutPrefix(line, "export "); ok {
		for _, set := range strings.Fields(in.Replace(sets)) {
			name, value, _ := strings.Cut(set, "=")
			t.Setenv(name, value)
		}
		return
	}
	words := commandIn(line)
	if words == nil {
		t.Fatalf("no command: %q", line)
	}
	f.typed++
	for i := range words {
		words[i] = in.Replace(words[i])
	}
	command := strings.Join(words[1:min(3, len(words))], " ")
	switch {
	case command == "media", command == "agent publish":
	case words[1] == "serve":
		f.start(t)
	case words[1] == "login":
		f.run(t, words, "--password-file", writeText(t, f.dir, "secret", "correct horse battery\n"))
	case words[1] == "assign":
		words[slices.Index(words, "CODE")] = f.checkInOf(t, 0).Code
		f.run(t, words)
		if o := f.checkInOf(t, 0); wanted(&o) != 1 || o.Permits.Provision == nil {
			t.Errorf("the assigned PC with an empty disk: %+v", o)
		}
		f.checkInOf(t, 1) // and has it
	case command == "lab check":
		b, err := os.ReadFile(f.lab)
		must(t, err)
		must(t, os.WriteFile(f.lab, []byte(strings.Replace(string(b), "{allow: true}", "{allow: true, wipe: true}", 1)), 0o644))
		f.run(t, words)
		must(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
		f.out.wait(t, "was reloaded")
	case command == "hosts confirm":
		f.run(t, words, "--yes")
	case command == "image import", command == "image add":
		f.run(t, words, "--force-unbootable") // these disks hold no Windows
	default:
		f.run(t, words)
	}
}

func (f *firstRoom) run(t *testing.T, words []string, more ...string) {
	t.Helper()
	wantTroy(t, exitOK, append(words[1:], more...)...)
}
