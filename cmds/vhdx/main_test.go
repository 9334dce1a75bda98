package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/internal/cli"
)

// call runs the program in an empty folder and returns its exit code and what it printed.
func call(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

func TestCommands(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"create", []string{"create", "--size", "64M", "base.vhdx"}, cli.OK, "kind:            dynamic"},
		{"flags after names", []string{"create", "child.vhdx", "-parent=base.vhdx"}, cli.OK, "differencing"},
		{"name with a dash", []string{"create", "--size", "1G", "--", "-a.vhdx"}, cli.OK, "-a.vhdx"},
		{"names with a dash", []string{"check", "--json=false", "--", "-a.vhdx", "base.vhdx"}, cli.OK, "base.vhdx: ok"},
		{"value with a dash", []string{"relink", "--path", "--", "child.vhdx"}, cli.OK, "is '--'"},
		{"info", []string{"info", "--json", "base.vhdx"}, cli.OK, `"kind": "dynamic"`},
		{"map", []string{"map", "base.vhdx"}, cli.OK, "absent"},
		{"convert", []string{"convert", "--to", "raw", "base.vhdx", "base.img"}, cli.OK, "made base.img"},
		{"help", []string{"help"}, cli.OK, "relink"},
		{"help of a command", []string{"merge", "--help"}, cli.OK, "--keep-identity"},
		{"version", []string{"version"}, cli.OK, "go1."},
		{"nothing", nil, cli.Usage, "usage: vhdx"},
		{"unknown command", []string{"frobnicate"}, cli.Usage, `unknown command "frobnicate"; usage: vhdx`},
		{"unknown flag", []string{"map", "--colour", "base.vhdx"}, cli.Usage, "colour; usage: vhdx map [flags] FILE"},
		{"value is missing", []string{"create", "--size"}, cli.Usage, "flag needs an argument"},
		{"too many", []string{"map", "base.vhdx", "child.vhdx"}, cli.Usage, "wrong number of arguments (2)"},
		{"missing file", []string{"info", "none.vhdx"}, cli.Failed, "no such file"},
		{"exists", []string{"create", "--size", "1G", "base.vhdx"}, cli.Failed, "--force replaces it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errOut := call(t, c.args...)
			if code != c.code || !strings.Contains(out+errOut, c.says) {
				t.Errorf("vhdx %q: exit code %d, want %d and %q\n%s%s", c.args, code, c.code, c.says, out, errOut)
			}
			if code != cli.OK && len(c.args) > 0 && strings.Count(errOut, "\n") != 1 {
				t.Errorf("vhdx %q: more than a line: %s", c.args, errOut)
			}
		})
	}
}

func TestDamageIsCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bad.vhdx")
	if err := os.WriteFile(path, bytes.Repeat([]byte("vhdxfile"), 1<<17), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := call(t, "check", path); code != cli.Check || !strings.HasPrefix(errOut, "vhdx: check failed") {
		t.Errorf("exit code %d, want %d: %s", code, cli.Check, errOut)
	}
	if code, _, errOut := call(t, "map", path); code != cli.Failed || !strings.Contains(errOut, "'vhdx check' lists") {
		t.Errorf("exit code %d, want %d: %s", code, cli.Failed, errOut)
	}
}

// full is a disk without space.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestLostOutput(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"version"}, {"merge", "--help"}} {
		var errOut bytes.Buffer
		if code := run(t.Context(), args, full{}, &errOut); code != cli.Failed || !strings.Contains(errOut.String(), "no space left") {
			t.Errorf("vhdx %q onto a full disk: exit code %d, want %d: %s", args, code, cli.Failed, errOut.String())
		}
	}
}
