package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// broken takes no byte.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("it is full") }

func TestFinish(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		code int
		says string
	}{
		{"done", nil, OK, ""},
		{"failed", errors.New("no"), Failed, "pc: no\n"},
		{"usage", Usagef("want %d", 2), Usage, "pc: want 2; usage: pc COMMAND\n"},
		{"usage below", fmt.Errorf("early: %w", Usagef("a\nb")), Usage, "pc: early: a; b; usage: pc COMMAND\n"},
		{"help was shown", Usagef(""), Usage, ""},
		{"check", fmt.Errorf("%w: 2 files", ErrCheck), Check, "pc: check failed: 2 files\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			if code := New("pc", &out, &errOut).Finish(c.err, "pc COMMAND"); code != c.code || errOut.String() != c.says {
				t.Errorf("exit code %d and %q, want %d and %q", code, errOut.String(), c.code, c.says)
			}
		})
	}
	var errOut bytes.Buffer
	s := New("pc", broken{}, &errOut)
	fmt.Fprintln(s.Out, "lost")
	if code := s.Finish(nil, ""); code != Failed || errOut.String() != "pc: writing the output: it is full\n" {
		t.Errorf("lost output: exit code %d, %q", code, errOut.String())
	}
	if code := s.Finish(ErrCheck, ""); code != Check {
		t.Errorf("lost output and a finding: exit code %d, want %d", code, Check)
	}
}

func TestExplain(t *testing.T) {
	advice := func(err error) string {
		if errors.Is(err, fs.ErrExist) {
			return "--force replaces it"
		}
		return ""
	}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"advice", fmt.Errorf("a: %w", fs.ErrExist), "a: file already exists; nothing; --force replaces it"},
		{"no advice", errors.New("a\x1b[31m\nb"), "a\ufffd[31m; b; nothing"},
		{"fate is known", &Fault{Err: errors.New("a"), Fate: "something"}, "a; something"},
		{"advice is known", &Fault{Err: errors.New("a"), Advice: "go on"}, "a; nothing; go on"},
		{"usage", Usagef("a"), "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Explain(c.err, "nothing", advice)
			if got.Error() != c.want || !errors.Is(got, errors.Unwrap(c.err)) && errors.Unwrap(c.err) != nil {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if Explain(nil, "nothing", advice) != nil {
		t.Error("no error became one")
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"1": 1, "512": 512, "1k": 1 << 10, "40M": 40 << 20, "64G": 64 << 30, "2t": 2 << 40, "9223372036854775807": math.MaxInt64,
		"": 0, "0": 0, "K": 0, "-1": 0, "1X": 0, "1.5G": 0, "9999999999T": 0, "9223372036854775808": 0} {
		t.Run(text, func(t *testing.T) {
			var s Size
			if err := s.Set(text); s != want || (err == nil) != (want > 0) {
				t.Errorf("%q is %d, %v; want %d", text, s, err, want)
			}
		})
	}
}

func TestTarget(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		force      bool
		want       string // of the error
	}{
		{"new", filepath.Join(dir, "new"), false, ""},
		{"replaced", there, true, ""},
		{"exists", there, false, "exists"},
		{"folder", dir, true, "is no regular file"},
		{"no folder", filepath.Join(dir, "a", "b"), false, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewTarget(c.path, c.force)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	target, err := NewTarget(there, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := target.NotOneOf(filepath.Join(dir, "none"), filepath.Join(dir, ".", "there")); err == nil {
		t.Error("it may be replaced while it is read")
	}
	if fate := target.Fate(); !strings.HasSuffix(fate, "is as it was") {
		t.Errorf("untouched: %s", fate)
	}
	if err := os.Rename(there, filepath.Join(dir, "old")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if fate := target.Fate(); !strings.HasSuffix(fate, "may not survive a power cut") {
		t.Errorf("replaced: %s", fate)
	}
}
