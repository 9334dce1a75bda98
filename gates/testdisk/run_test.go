package testdisk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"troy/gates"
)

// ran tries disks of the set with a Windows.
func ran(t testing.TB, api API, leaves ...string) (string, *gates.Result) {
	t.Helper()
	dir, _ := some(t, leaves...)
	r := newResult()
	if err := Run(ctx, dir, api, r, nil); err != nil {
		t.Fatal(err)
	}
	return dir, r
}

// want compares answers and a part of the evidence.
func want(t *testing.T, r *gates.Result, gate string, s gates.Status, line string) {
	t.Helper()
	a := r.Answer(gate)
	if a.Status != s || !strings.Contains(strings.Join(a.Evidence, "\n"), line) {
		t.Errorf("%s is %s, want %s with %q:\n%s", gate, a.Status, s, line, strings.Join(a.Evidence, "\n"))
	}
}

// whole is the set after a Windows without faults ran, and what it said.
var whole = sync.OnceValues(func() (*gates.Result, error) {
	dir, err := made()
	if err != nil {
		return nil, err
	}
	to := filepath.Join(dir, "ran")
	if err := os.CopyFS(to, os.DirFS(filepath.Join(dir, "set"))); err != nil {
		return nil, err
	}
	r := newResult()
	return r, Run(ctx, to, &fake{busy: map[string]bool{}}, r, nil)
})

// wholeSet returns the folder, and a copy of what Windows said.
func wholeSet(t testing.TB) (string, *gates.Result) {
	t.Helper()
	first, err := whole()
	if err != nil {
		t.Fatal(err)
	}
	r, err := gates.Join(first)
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := set(t)
	return filepath.Join(filepath.Dir(dir), "ran"), r
}

// A Windows without faults passes what the disks can settle, first by what it says, then by what it
// left. Before it ran, nothing is said.
func TestWhole(t *testing.T) {
	untouched, all := set(t)
	r := newResult()
	if err := Judge(ctx, untouched, r); err != nil {
		t.Fatal(err)
	}
	if n := r.Count(gates.NotRun); n != len(gates.All()) {
		t.Errorf("%d gates are not run before anything ran:\n%s", n, r.Page())
	}
	dir, r := wholeSet(t)
	for range 2 { // what Windows said, and what it left
		for _, g := range []string{"W3", "W4", "W9", "W11"} {
			want(t, r, g, gates.Pass, "")
		}
		for _, g := range []string{"W1", "W2", "W5", "W15"} {
			want(t, r, g, gates.NotRun, "attached and read")
		}
		if err := Judge(ctx, dir, r); err != nil {
			t.Fatal(err)
		}
	}
	want(t, r, "W6", gates.NotRun, "size and places of the blocks are what they were")
	want(t, r, "W9", gates.Pass, "machine/fresh.vhdx: attached twice: refused: the file is being used by another process")
	want(t, r, "W9", gates.Pass, "merged/boot.vhdx: shows what was written and nothing else")
	want(t, r, "W3", gates.Pass, "windows/timed/parent.vhdx: shows after the merge what the child showed")
	want(t, r, "W3", gates.Pass, "troy/cut/parent.vhdx: shows after the merge what the child showed")
	if r.Merge == nil || r.Merge.Bytes != diskOf(t, all, "timed/child.vhdx").Merge || r.Merge.Windows <= 0 || r.Merge.Troy <= 0 {
		t.Errorf("times of the merges: %+v", r.Merge)
	}
	if b, err := r.Encode(); err != nil || strings.Contains(string(b), dir) {
		t.Errorf("%v: the result names the folder: %s", err, b)
	}
}

// A second run finds its own writes, and says the same.
func TestRunTwice(t *testing.T) {
	dir, r := ran(t, &fake{busy: map[string]bool{}}, "machine/personal.vhdx")
	if err := Run(ctx, dir, &fake{busy: map[string]bool{}}, r, nil); err != nil {
		t.Fatal(err)
	}
	want(t, r, "W11", gates.Pass, "")
}

func TestRunRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		api  *fake
		leaf string
		gate string
		want gates.Status
		says string
	}{
		{"linkage2", &fake{refuse: "cut/child.vhdx", always: true}, "cut/child.vhdx", "W3", gates.Fail, "a merge that was cut off: the child fits its parent by parent_linkage2: attached read-only: the parent"},
		{"writing", &fake{refuse: "machine/fresh.vhdx"}, "machine/fresh.vhdx", "W9", gates.Fail, "attached for writing: the parent virtual hard disk does not fit (0xC03A000E)"},
		{"a place that is none", &fake{refuse: "machine/fresh.vhdx", always: true, err: fmt.Errorf("OpenVirtualDisk: %w", ErrPlace)}, "machine/fresh.vhdx", "W9", gates.NotRun,
			"OpenVirtualDisk: the files are sparse"},
		{"lost writes", &fake{lose: "machine/personal.vhdx"}, "machine/personal.vhdx", "W11", gates.Fail, "attached for writing: byte 4096 is wrong"},
		{"other bytes", &fake{spoil: "plain/space.vhdx"}, "plain/space.vhdx", "W4", gates.Fail, "attached again: byte"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.api.busy = map[string]bool{}
			dir, r := ran(t, c.api, c.leaf)
			want(t, r, c.gate, c.want, c.says)
			if c.api.spoil == "" {
				return
			}
			if err := Judge(ctx, dir, r); err != nil {
				t.Fatal(err)
			}
			want(t, r, c.gate, gates.Fail, "was changed, where nothing was written")
		})
	}
	// Not every Windows replays a log for reading only; that alone is no failure.
	api := &readOnlyNeedsNoLog{fake{busy: map[string]bool{}}}
	_, r := ran(t, api, "machine/dirty.vhdx")
	want(t, r, "W2", gates.NotRun, "attached read-only: the log has to be replayed")
	want(t, r, "W2", gates.NotRun, "wrote to 4 places")
}

// readOnlyNeedsNoLog refuses to attach what was not closed for reading only.
type readOnlyNeedsNoLog struct{ fake }

func (f *readOnlyNeedsNoLog) Attach(leaf string, write bool) (Attached, error) {
	if _, dirty, err := anchors(leaf); err == nil && dirty && !write {
		return nil, errors.New("the log has to be replayed")
	}
	return f.fake.Attach(leaf, write)
}

func TestRunNotAtAll(t *testing.T) {
	dir, r := ran(t, none{}, "machine/fresh.vhdx", "cut/child.vhdx")
	want(t, r, "W9", gates.NotRun, "virtual disks cannot be attached here")
	want(t, r, "W3", gates.NotRun, "virtual disks cannot be attached here")
	if n := r.Count(gates.NotRun); n != len(gates.All()) {
		t.Errorf("%d gates are not run", n)
	}
	// What cannot be copied for a merge is no answer of Windows.
	api := &fake{busy: map[string]bool{}, slow: func() {
		if err := os.WriteFile(filepath.Join(dir, byWindows), nil, 0o644); err != nil {
			t.Error(err)
		}
	}}
	if err := Run(ctx, dir, api, newResult(), nil); !errors.Is(err, errOurs) || !strings.Contains(err.Error(), "cut/child.vhdx: could not be prepared") {
		t.Errorf("without a place for the copies: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, byWindows)); err != nil {
		t.Fatal(err)
	}
	stopped, stop := context.WithCancel(ctx)
	api = &fake{busy: map[string]bool{}, slow: stop}
	if err := Run(stopped, dir, api, newResult(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if err := Judge(stopped, dir, newResult()); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "machine/fresh.vhdx")); err != nil {
		t.Fatal(err)
	}
	if err := Judge(ctx, dir, newResult()); err == nil || !strings.Contains(err.Error(), "machine/fresh.vhdx is missing") {
		t.Errorf("without a file: %v", err)
	}
}
