package api

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/internal/testing/smallstore"
	"troy/server/rooms"
	"troy/server/servedir"
	"troy/server/state"
)

// TestOpenLocal: while no server runs, the commands work on the store that it served.
func TestOpenLocal(t *testing.T) {
	dir := smallstore.Make(t, t.TempDir())
	folder := servedir.Of(dir)
	path := filepath.Join(filepath.Dir(dir), "lab.yaml")
	must(t, os.WriteFile(path, []byte(strings.ReplaceAll(labText, "win11", smallstore.Image)), 0o644))
	if _, err := OpenLocal(dir, true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no server ran: %v", err)
	}
	must(t, folder.Make())
	must(t, folder.SetLab(path))
	if _, err := OpenLocal(dir, true); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("no state file: %v", err)
	}
	l, err := OpenLocal(dir, false)
	must(t, err)
	target, err := l.Promote(t.Context(), rooms.Promotion{Room: "test", Version: 2})
	if must(t, err); target.Version != 2 || target.Image != smallstore.Image {
		t.Errorf("promoted: %+v", target)
	}
	must(t, l.Close())
	if l, err = OpenLocal(dir, true); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if s, err := l.Status(t.Context()); err != nil || s.Rooms[1].Want != 2 {
		t.Errorf("status: %+v, %v", s, err)
	}
	if _, err := l.Promote(t.Context(), rooms.Promotion{Room: "test", Version: 1}); err == nil {
		t.Error("a promotion in a file that is read only")
	}
}

// TestOpenLocalBusy: the state file of a server that runs is its own.
func TestOpenLocalBusy(t *testing.T) {
	dir := smallstore.Make(t, t.TempDir())
	folder := servedir.Of(dir)
	path := filepath.Join(filepath.Dir(dir), "lab.yaml")
	must(t, errors.Join(folder.Make(), folder.SetLab(path), os.WriteFile(path, []byte(labText), 0o644)))
	st, err := state.Open(folder.State(), nil)
	must(t, err)
	defer st.Close()
	for _, readOnly := range []bool{false, true} {
		if _, err := OpenLocal(dir, readOnly); !errors.Is(err, state.ErrBusy) {
			t.Errorf("read only %v: %v", readOnly, err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
