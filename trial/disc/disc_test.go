package disc

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"troy/trial/inside"
)

// output runs a program.
func output(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return out
}

// Three other programs read what the disc holds, by the names that Windows sees.
func TestMake(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "troy-gates.exe")
	exe := append([]byte("MZ"), bytes.Repeat([]byte("program "), 100_001)...)
	if err := os.WriteFile(program, exe, 0o644); err != nil {
		t.Fatal(err)
	}
	disc := filepath.Join(dir, "disc.iso")
	for number := 1; number <= 2; number++ { // the second replaces the first
		if err := Make(disc, &inside.Order{Number: number, BallastMiB: 64, Tell: "http://10.0.2.2/"}, program); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 2 {
		t.Errorf("something was left behind: %v, %v", list, err)
	}
	readers := map[string]func(name string) []byte{
		"7zz":     func(name string) []byte { return output(t, "7zz", "x", "-so", "-tiso", disc, name) },
		"isoinfo": func(name string) []byte { return output(t, "isoinfo", "-i", disc, "-x", "/"+name+";1") },
		"xorriso": func(name string) []byte {
			to := filepath.Join(t.TempDir(), "x")
			output(t, "xorriso", "-osirrox", "on", "-indev", disc, "-extract", "/"+name, to)
			b, err := os.ReadFile(to)
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
	}
	for reader, read := range readers {
		if got := read(inside.ProgramFile); !bytes.Equal(got, exe) {
			t.Errorf("%s reads another program: %d bytes, want %d", reader, len(got), len(exe))
		}
		if o, err := inside.ParseOrder(read(inside.OrderFile)); err != nil || o.Number != 2 || o.Tell != "http://10.0.2.2/" {
			t.Errorf("%s reads another order: %+v, %v", reader, o, err)
		}
		if got := string(read(inside.ScriptFile)); got != script || strings.Count(got, "\n") != strings.Count(got, "\r\n") {
			t.Errorf("%s reads another script: %q", reader, got)
		}
	}
	if said := string(output(t, "isoinfo", "-d", "-i", disc)); !strings.Contains(said, "Volume id: "+Label) || !strings.Contains(said, "NO Joliet present") || !strings.Contains(said, "NO Rock Ridge present") {
		t.Errorf("isoinfo says:\n%s", said)
	}
}

// Nothing is left of a disc that cannot be made, and an older one stays.
func TestMakeRefused(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	disc, program := file("disc.iso", "the older one"), file("program", "MZ")
	good := &inside.Order{Number: 1, BallastMiB: 1}
	for name, c := range map[string]struct {
		out, program string
		order        *inside.Order
		want         error
	}{
		"no program":   {disc, filepath.Join(dir, "none"), good, os.ErrNotExist},
		"not Windows'": {disc, file("elf", "\x7fELF"), good, ErrProgram},
		"empty":        {disc, file("empty", ""), good, ErrProgram},
		"bad order":    {disc, program, &inside.Order{}, inside.ErrOrder},
		"no folder":    {filepath.Join(dir, "none", "disc.iso"), program, good, os.ErrNotExist},
	} {
		if err := Make(c.out, c.order, c.program); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b, err := os.ReadFile(disc); err != nil || string(b) != "the older one" {
		t.Errorf("the older disc: %q, %v", b, err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 4 {
		t.Errorf("something was left behind: %v, %v", list, err)
	}
}
