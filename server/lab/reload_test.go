package lab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestReloadHowever: a change is noticed however it was made, and never taken by half.
func TestReloadHowever(t *testing.T) {
	other := strings.Replace(good, "wave: 10", "wave: 11", 1) // of the same size
	half := good[:strings.Index(good, "hosts:")]              // which is valid by itself
	stamp := time.Now().Add(-time.Hour)
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, x := range map[string]struct {
		steps []func(path string)
		looks int // until it is in force
	}{
		"of the same size and time": {[]func(string){func(path string) {
			write(path, other)
			if err := os.Chtimes(path, stamp, stamp); err != nil {
				t.Fatal(err)
			}
		}}, 1},
		"replaced behind a link": {[]func(string){func(path string) {
			link := filepath.Join(filepath.Dir(path), "current")
			if err := os.Remove(link); err != nil {
				t.Fatal(err)
			}
			write(path+".2", other)
			if err := os.Chtimes(path+".2", stamp, stamp); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path+".2", link); err != nil {
				t.Fatal(err)
			}
		}}, 1},
		"in pieces": {[]func(string){
			func(path string) { write(path, "") },
			func(path string) { write(path, half) },
			func(path string) { write(path, other) },
		}, 2},
		"with a clock that was ahead": {[]func(string){func(path string) {
			write(path, other)
			if err := os.Chtimes(path, stamp, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "lab.yaml")
			link := filepath.Join(filepath.Dir(path), "current")
			write(path, good)
			if err := os.Chtimes(path, stamp, stamp); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			f, err := Open(link)
			if err != nil {
				t.Fatal(err)
			}
			wave := func() int { p, _ := f.Lab().Room("spare"); return int(p.Wave) }
			for i, step := range x.steps {
				step(path)
				if changed, err := f.Reload(false); err != nil || changed && (i < len(x.steps)-1 || x.looks > 1) || len(f.Lab().Hosts) == 0 {
					t.Fatalf("step %d: changed %v, %v", i, changed, err)
				}
			}
			for range x.looks - 1 {
				if _, err := f.Reload(false); err != nil {
					t.Fatal(err)
				}
			}
			if wave() != 11 {
				t.Errorf("wave %d is in force after %d looks", wave(), x.looks)
			}
			if changed, err := f.Reload(false); changed || err != nil {
				t.Errorf("it changes once more: %v, %v", changed, err)
			}
		})
	}
}

// TestReloadShrunk: a first part that is valid by itself is not taken while the rest may still
// come. If it is the whole, it comes into force later, or by a reload at once.
func TestReloadShrunk(t *testing.T) { synctest.Test(t, testReloadShrunk) }

func testReloadShrunk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	half := good[:strings.Index(good, "hosts:")]
	write(good)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	look := func(after time.Duration, force, changed bool, want error, hosts int) {
		t.Helper()
		time.Sleep(after)
		if got, err := f.Reload(force); got != changed || !errors.Is(err, want) || len(f.Lab().Hosts) != hosts {
			t.Errorf("changed %v, %v, %d hosts", got, err, len(f.Lab().Hosts))
		}
	}
	all := len(f.Lab().Hosts)
	for range 2 {
		write(half)
		look(0, false, false, nil, all)
		look(10*time.Second, false, false, ErrShrunk, all)
		look(10*time.Second, false, false, nil, all) // told once
		write(good)
		look(0, false, false, nil, all)
		look(10*time.Second, false, true, nil, all)
	}
	write(half)
	look(0, false, false, nil, all)
	look(shrunkTime-time.Second, false, false, ErrShrunk, all)
	look(2*time.Second, false, true, nil, 0)
	write(good)
	look(0, false, false, nil, 0)
	look(10*time.Second, false, true, nil, all)
	write(half)
	look(0, true, true, nil, 0)
}
