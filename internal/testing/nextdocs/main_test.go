package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/diskwriter/machine"
	"troy/image"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/format"
)

// program builds this command of the next release.
func program(t *testing.T) func(args ...string) (string, error) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "nextdocs")
	if out, err := exec.Command("go", "build", "-tags", "next", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return func(args ...string) (string, error) {
		out, err := exec.Command(bin, args...).CombinedOutput()
		return string(out), err
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused wants an error that names the document and the word.
func refused(t *testing.T, document string, err error) {
	t.Helper()
	var needs *format.NeedsError
	if !errors.As(err, &needs) || !strings.Contains(err.Error(), document+` needs "next"`) {
		t.Errorf("%s of the next release: %v", document, err)
	}
}

// tree reads the files of a folder whose store.json is not understood.
type tree string

// String implements image.Source.
func (d tree) String() string { return string(d) }

// ReadRange implements image.Source.
func (d tree) ReadRange(_ context.Context, name string, off, n int64) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(string(d), name))
	if err != nil || off+n > int64(len(b)) {
		return nil, errors.Join(err, image.ErrCorrupt)
	}
	return b[off : off+n], nil
}

// Get implements image.Documents.
func (d tree) Get(_ context.Context, name string, _ int64) ([]byte, error) {
	return os.ReadFile(filepath.Join(string(d), name))
}

// TestNextStore: of a store that the next release wrote, this one follows the signatures, finds the
// servers and the release of the agent, and refuses all that needs a word, by name. The next one
// reads a store of this one.
func TestNextStore(t *testing.T) {
	next, dir, now := program(t), t.TempDir(), time.Now()
	if out, err := next("write", dir); err != nil {
		t.Fatal(out)
	}
	store := tree(filepath.Join(dir, "store"))
	root, err := store.Get(t.Context(), "metadata/1.root.json", 0)
	must(t, err)
	src, _, err := trust.Pinned(t.Context(), store, now, &trust.PinnedOptions{Root: root})
	must(t, err)
	if list := src.Servers(); list == nil || len(list.Keys()) != 1 {
		t.Errorf("the servers are %+v", list)
	}
	b, err := os.ReadFile(filepath.Join(dir, "release.json"))
	must(t, err)
	if r, err := trust.ParseRelease(b); err != nil || r.Version != "1" {
		t.Errorf("the release is %+v, %v", r, err)
	}
	refused(t, "permits.json", src.Permitted(t.Context(), trust.Use{Scope: trust.Wipe, Disk: "S1234"}, now))
	_, err = image.LoadPlan(t.Context(), src, "pc", 0, 1)
	refused(t, "versions.json", err)
	b, err = store.Get(t.Context(), "images/pc/1.json", 0)
	must(t, err)
	_, err = image.ParseManifest(b, "pc", &image.Entry{Version: 1})
	refused(t, "the manifest", err)
	_, err = image.OpenStore(string(store))
	refused(t, image.MarkerName, err)
	repo, err := sign.Open(string(store), nil)
	must(t, err)
	_, err = repo.Root()
	refused(t, "trusted.json", err)
	_, err = repo.Confirmed()
	refused(t, "confirmed.json", err)
	refused(t, "confirmed.json", repo.Confirm(nil))

	own := t.TempDir()
	must(t, write(own))
	must(t, read(own))
	if out, err := next("read", own); err != nil {
		t.Errorf("a store of this release: %s", out)
	}
}

// TestNextJournal: what an agent of the next release keeps while it is on trial, this one reads. Once
// it is kept, this one writes nothing any more.
func TestNextJournal(t *testing.T) {
	next, path := program(t), filepath.Join(t.TempDir(), "journal")
	must(t, os.WriteFile(path, nil, 0o644))
	must(t, os.Truncate(path, machine.JournalSize))
	for range 2 { // a journal without records, and one with some
		if out, err := next("note", path); err != nil {
			t.Fatal(out)
		}
		must(t, withJournal(path, func(j *machine.Journal) error {
			if b, err := j.Get(machine.RecordAgent); err != nil || string(b) != "noted" {
				t.Errorf("the record is %q, %v", b, err)
			}
			return j.Put(machine.RecordTrust, []byte("today"))
		}))
	}
	if out, err := next("raise", path); err != nil {
		t.Fatal(out)
	}
	before, err := os.ReadFile(path)
	must(t, err)
	refused(t, "the journal of this disk", note(path))
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the journal was written to (%v)", err)
	}
	if out, err := next("note", path); err != nil {
		t.Error(out)
	}
}
