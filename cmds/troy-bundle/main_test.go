package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/internal/cli"
)

// Each wrong thing gets one line, and nothing is made.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	text, out := filepath.Join(dir, "text"), filepath.Join(dir, "out")
	if err := os.WriteFile(text, []byte("no kernel\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, cli.Usage, "--kernel and --modules are needed"},
		{[]string{"--kernel", text, "--modules", dir, "more"}, cli.Usage, "more is not a flag"},
		{[]string{"--nonsense"}, cli.Usage, "nonsense"},
		{[]string{"--kernel", text, "--modules", dir}, cli.Failed, "not a bzImage"},
		{[]string{"--kernel", filepath.Join(dir, "none"), "--modules", dir}, cli.Failed, "no such file"},
	} {
		var says bytes.Buffer
		if code := run(t.Context(), append([]string{"--out", out}, c.args...), &says, &says); code != c.code || !strings.Contains(says.String(), c.want) {
			t.Errorf("%q: exit code %d, %q; want %d and %q", c.args, code, says.String(), c.code, c.want)
		}
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("something was made: %v", err)
	}
}

func TestList(t *testing.T) {
	for text, want := range map[string][]string{"": {}, "a": {"a"}, "a,b": {"a", "b"}, " a  b, c": {"a", "b", "c"}} {
		if got := list(text); !slices.Equal(got, want) {
			t.Errorf("list(%q) = %q", text, got)
		}
	}
}
