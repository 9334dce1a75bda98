package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"troy/internal/format"
)

// rewrite changes a closed file as another program would have left it.
func rewrite(t *testing.T, path string, change func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := openDB(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(change), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// says sets what a file says of its format.
func says(pairs ...string) func(tx *bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := tx.Bucket([]byte(bucketMeta)).Put([]byte(pairs[i]), []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	}
}

func withMachine(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	if _, err := s.Update("a", func(m *Machine) error { m.Name = "b204-01"; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// A file of a newer program is used, and stays one, unless it needs what this program does not know.
func TestNewerFile(t *testing.T) {
	path := withMachine(t)
	rewrite(t, path, says(keyFormat, "99", keyProgram, "9.8"))
	s := open(t, path)
	if _, err := s.Update("a", func(m *Machine) error { m.Room = "B204"; return nil }); err != nil {
		t.Fatal(err)
	}
	s.Close()
	rewrite(t, path, func(tx *bbolt.Tx) error {
		h, program, err := readHead(tx)
		if h.Format != 99 || program != "9.8" {
			t.Errorf("it is %+v of %q now", h, program)
		}
		return errors.Join(err, says(keyNeeds, "shards new-names")(tx))
	})
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(path, nil)
	var newer *NewerError
	if !errors.As(err, &newer) || !errors.Is(err, ErrFormat) ||
		!strings.Contains(err.Error(), `Troy 9.8 wrote it (format 99): state.db needs "shards", "new-names", which this program (`+format.Release+`) does not understand`) {
		t.Errorf("it is opened with %v", err)
	}
	if err := os.WriteFile(BackupOf(path, Kind.Current()), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, nil); err == nil || !strings.Contains(err.Error(), "'mv "+BackupOf(path, Kind.Current())+" "+path+"'") {
		t.Errorf("with a copy beside it: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("a file that was refused has changed, %v", err)
	}
}

// A file of an older format is migrated, once, and a copy of it stays.
func TestOlderFile(t *testing.T) {
	path := withMachine(t)
	next := Kind
	next.Number++
	migrate := func(readOnly bool) {
		t.Helper()
		db, err := openDB(path, readOnly)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(admit(&next, db, readOnly), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	head := func() (h format.Head) {
		rewrite(t, path, func(tx *bbolt.Tx) (err error) {
			h, _, err = readHead(tx)
			return err
		})
		return h
	}
	migrate(true)
	if h := head(); h.Format != Kind.Current() {
		t.Errorf("read only it became %+v", h)
	}
	migrate(false)
	s := open(t, path)
	if m := s.Get("a"); m == nil || m.Name != "b204-01" {
		t.Errorf("the machine is %+v", m)
	}
	if _, err := s.Update("b", func(*Machine) error { return nil }); err != nil {
		t.Fatal(err)
	}
	s.Close()
	migrate(false) // must not make the copy again
	if h := head(); h.Format != next.Current() {
		t.Errorf("it became %+v", h)
	}
	s = open(t, BackupOf(path, Kind.Current()))
	if s.Get("a") == nil || s.Get("b") != nil {
		t.Errorf("the copy holds %+v, %+v", s.Get("a"), s.Get("b"))
	}
	s.Close()
}

func TestFormatThatNoProgramHas(t *testing.T) {
	for _, number := range []string{"", "two", "1", "-3"} {
		path := withMachine(t)
		rewrite(t, path, says(keyFormat, number))
		if _, err := Open(path, nil); !errors.Is(err, ErrFormat) {
			t.Errorf("format %q: %v", number, err)
		}
	}
}

// What a newer program noted is there again after this one has changed the values.
func TestUnknownMembersAreKept(t *testing.T) {
	path := withMachine(t)
	s := open(t, path)
	if _, err := s.Promote("B204", Target{Image: "win11", Version: 1}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	add := func(bucket, key string) func(tx *bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(bucket))
			text := strings.Replace(string(b.Get([]byte(key))), `{`, `{"later":{"x":[1]},`, 1)
			return b.Put([]byte(key), []byte(strings.Replace(text, `[{`, `[{"later":7,`, 1)))
		}
	}
	rewrite(t, path, func(tx *bbolt.Tx) error {
		return errors.Join(add(bucketMachines, "a")(tx), add(bucketRooms, "B204")(tx))
	})
	s = open(t, path)
	if _, err := s.Update("a", func(m *Machine) error { m.Room = "B204"; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Promote("B204", Target{Image: "win11", Version: 2}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	rewrite(t, path, func(tx *bbolt.Tx) error {
		m, r := string(tx.Bucket([]byte(bucketMachines)).Get([]byte("a"))), string(tx.Bucket([]byte(bucketRooms)).Get([]byte("B204")))
		if !strings.Contains(m, `"later":{"x":[1]}`) || !strings.Contains(m, `"room":"B204"`) {
			t.Errorf("the machine is %s", m)
		}
		if !strings.Contains(r, `"later":{"x":[1]}`) || !strings.Contains(r, `"later":7`) || !strings.Contains(r, `"version":2`) {
			t.Errorf("the room is %s", r)
		}
		return nil
	})
}
