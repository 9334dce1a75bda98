package lab

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFirst: the file of a new store is valid, knows no machine, and is never written over another.
func TestFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	if err := WriteFirst(path); err != nil {
		t.Fatal(err)
	}
	l, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	p, ok := l.Room("default")
	if !ok || !*p.Always || p.Image != "" || *p.Reinstall || !p.Provision.Allow || p.Provision.Wipe || len(l.Rooms) != 1 || l.Guests() != "" || p.Identity != IdentityWanted || p.PCName != "{host}" {
		t.Errorf("room %+v of %+v", p, l)
	}
	if find(l, "52:54:00:12:34:56", "") != "" {
		t.Error("it knows a machine")
	}
	if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteFirst(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	if b, err := os.ReadFile(path); string(b) != "mine" {
		t.Errorf("the file of the admin is %q, %v", b, err)
	}
}

func TestFirstZone(t *testing.T) {
	l := parse(t, string(First("Europe/Berlin")))
	if l.Location().String() != "Europe/Berlin" {
		t.Errorf("zone %v", l.Location())
	}
	t.Setenv("TZ", "Asia/Tokyo")
	if z := localZone(); z != "Asia/Tokyo" {
		t.Errorf("zone of this machine: %s", z)
	}
}

// TestOpenLater: without the file there are no rooms, and it comes into force as soon as it is
// there.
func TestOpenLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	if _, err := Open(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open: %v", err)
	}
	f, err := OpenLater(path)
	if err != nil || len(f.Lab().Rooms) != 0 || f.Lab().Location() != time.UTC {
		t.Fatalf("%+v, %v", f.Lab(), err)
	}
	if changed, err := f.Reload(false); changed || err != nil {
		t.Errorf("nothing happened: %v, %v", changed, err)
	}
	if err := WriteFirst(path); err != nil {
		t.Fatal(err)
	}
	if changed, err := f.Reload(false); changed || err != nil {
		t.Errorf("it was written just now: %v, %v", changed, err)
	}
	if changed, err := f.Reload(false); !changed || err != nil || len(f.Lab().Rooms) != 1 {
		t.Errorf("the file came: %v, %v, %+v", changed, err, f.Lab())
	}
	if err := os.WriteFile(path, []byte("format: 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLater(path); !errors.Is(err, ErrInvalid) {
		t.Errorf("a file that is wrong: %v", err)
	}
}
