package onwindows

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"troy/internal/testing/needs"
	"troy/trial/inside"
)

// played is a system that has nothing to tell.
type played struct{ down int }

func (p *played) Do(context.Context, inside.Action) error { return nil }
func (p *played) Look(context.Context) inside.Seen        { return inside.Seen{Name: "PC-01"} }
func (p *played) ShutDown() error                         { p.down++; return nil }

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// disc is a drive with an order.
func disc(t *testing.T, o *inside.Order) string {
	t.Helper()
	b, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	write(t, filepath.Join(root, "ORDER.TXT"), b)
	return root
}

// The program is put into its folder, and each start after that does what its order says.
func TestInstallAndStarts(t *testing.T) {
	system := &played{}
	p := &place{dir: filepath.Join(t.TempDir(), "Troy"), system: system, wait: time.Minute}
	for range 2 { // the second time nothing is new
		program, err := p.copySelf()
		if err != nil {
			t.Fatal(err)
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(self)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(program); err != nil || !slices.Equal(got, want) || filepath.Base(program) != "GATES.EXE" {
			t.Errorf("%s is not the program: %v", program, err)
		}
	}
	for i, c := range []struct {
		order inside.Order
		found uint32 // stamp of the ballast
	}{
		{inside.Order{Number: 1, BallastMiB: 1, Stamp: 1}, 1}, // makes it
		{inside.Order{Number: 2, BallastMiB: 1, Do: []inside.Action{inside.Fill}, Stamp: 7}, 1},
		{inside.Order{Number: 3, BallastMiB: 1}, 7},
	} {
		p.roots = func() []string { return []string{t.TempDir(), disc(t, &c.order)} }
		r, err := p.up(t.Context(), inside.Up, nil)
		if err != nil || system.down != i+1 {
			t.Fatalf("%v, %d times shut down", err, system.down)
		}
		if !r.Ballast.One(c.found) || r.Order != c.order.Number || r.Phase != inside.Up || len(r.Failed) > 0 {
			t.Errorf("%+v, want stamp %d", r, c.found)
		}
	}
	f, err := os.Open(filepath.Join(p.dir, "trial.bin"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if all, err := inside.All(f); err != nil || len(all) != 3 || all[2].Order != 3 {
		t.Errorf("%+v, %v", all, err)
	}
}

// Without its files a start still tells, and shuts down.
func TestUpWithoutFolder(t *testing.T) {
	system := &played{}
	p := &place{dir: filepath.Join(t.TempDir(), "none"), system: system, roots: func() []string {
		return []string{disc(t, &inside.Order{Number: 1, BallastMiB: 1, Do: []inside.Action{inside.Fill}})}
	}}
	r, err := p.up(t.Context(), inside.Desktop, func() error { return errors.New("access denied") })
	if err != nil || system.down != 1 || len(r.Failed) != 3 || r.Failed[0] != "install: access denied" || !strings.HasPrefix(r.Failed[1], "files: ") {
		t.Errorf("%+v, %v", r, err)
	}
}

// The disc is waited for, as long as the place says.
func TestWait(t *testing.T) {
	root := disc(t, &inside.Order{Number: 4, BallastMiB: 1})
	bad := t.TempDir()
	write(t, filepath.Join(bad, "ORDER.TXT"), []byte("{"))
	for name, c := range map[string]struct {
		roots func(after time.Duration) []string
		took  time.Duration
		err   error
	}{
		"there": {func(time.Duration) []string { return []string{root} }, 0, nil},
		"comes": {func(after time.Duration) []string {
			if after < 7*time.Second {
				return nil
			}
			return []string{"/nowhere", root}
		}, 7 * time.Second, nil},
		"never":    {func(time.Duration) []string { return nil }, time.Minute, ErrNoOrder},
		"no order": {func(time.Duration) []string { return []string{bad} }, 0, inside.ErrOrder},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				p := &place{wait: time.Minute, roots: func() []string { return c.roots(time.Since(begin)) }}
				o, err := p.order(t.Context())
				if took := time.Since(begin); took != c.took || !errors.Is(err, c.err) || (err == nil) != (o != nil) {
					t.Errorf("%+v after %v: %v", o, took, err)
				}
			})
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&place{wait: time.Hour, roots: func() []string { return nil }}).order(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestTestDisks(t *testing.T) {
	with := t.TempDir()
	write(t, filepath.Join(with, "gates", "manifest.json"), []byte("{}"))
	if dir, err := testDisks([]string{"/nowhere", t.TempDir(), with}); err != nil || dir != filepath.Join(with, "gates") {
		t.Errorf("%s, %v", dir, err)
	}
	if _, err := testDisks([]string{t.TempDir()}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// A volume is filled to its last block.
func TestFill(t *testing.T) {
	needs.Root(t)
	dir := t.TempDir()
	const size = 5<<20 + 3*stuffLeast
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=5255168"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	full := func(err error) bool { return errors.Is(err, syscall.ENOSPC) }
	if err := fill(t.Context(), filepath.Join(dir, "stuff"), full); err != nil {
		t.Fatal(err)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil || s.Bfree != 0 || int64(s.Blocks)*s.Bsize != size {
		t.Errorf("%d of %d blocks of %d are free: %v", s.Bfree, s.Blocks, s.Bsize, err)
	}
	if err := fill(t.Context(), filepath.Join(dir, "more"), func(error) bool { return false }); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := fill(ctx, t.TempDir(), full); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
