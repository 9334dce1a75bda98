package vm

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"troy/internal/guid"
	"troy/internal/utf16le"
)

// A variable that is set twice is there once; other files, and too much, are refused.
func TestSetVariable(t *testing.T) {
	f, err := FindFirmware()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "vars.fd")
	if err := copyFile(path, f.Vars); err != nil {
		t.Fatal(err)
	}
	id := guid.New()
	for _, data := range []string{"first", "second"} {
		if err := SetVariable(path, "Test", id, 3, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	key := append(bytes.Clone(id[:]), utf16le.Append(nil, "Test\x00")...)
	for data, state := range map[string]byte{"first": variableAdded & variableDeleted, "second": variableAdded} {
		at := bytes.Index(b, append(bytes.Clone(key), data...))
		if at < 0 || b[at-44+2] != state {
			t.Errorf("%s: at %d, want it in state %#x", data, at, state)
		}
	}
	if SetVariable(path, "Large", id, 3, make([]byte, 1<<20)) == nil {
		t.Error("a variable larger than the store is taken")
	}
	if err := os.WriteFile(path, []byte("no volume"), 0o644); err != nil {
		t.Fatal(err)
	}
	if SetVariable(path, "Test", id, 3, nil) == nil {
		t.Error("a file that is none is taken")
	}
}
