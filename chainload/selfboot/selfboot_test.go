package selfboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"troy/chainload"
	"troy/chainload/efiboot"
	"troy/chainload/release"
	"troy/internal/testing/efitest"
)

const (
	pathA = `\EFI\Troy\a\shimx64.efi`
	pathB = `\EFI\Troy\b\shimx64.efi`
)

func (m *machine) install(t testing.TB, r *Release) *Result {
	t.Helper()
	res, err := Install(context.Background(), m.Options, r)
	must(t, err)
	m.othersUntouched(t)
	return res
}

func (m *machine) inspect(t testing.TB) *Status {
	t.Helper()
	s, err := Inspect(context.Background(), m.Options)
	must(t, err)
	return s
}

// order is BootOrder, as numbers.
func (m *machine) order(t testing.TB) string {
	t.Helper()
	o, err := efiboot.BootOrder(m.fw)
	must(t, err)
	return fmt.Sprint(o)
}

func TestInstall(t *testing.T) {
	m := newMachine(t)
	if s := m.inspect(t); s.Running != "" || s.First != "" || !errors.Is(s.Copies[A].Problem, ErrNoCopy) || !errors.Is(s.Copies[B].Problem, ErrNoCopy) {
		t.Errorf("%+v", s)
	}
	r := m.install(t, newRelease("1"))
	if *r != (Result{Copy: A, Entry: 2, Written: true, EntryCreated: true, OrderChanged: true}) || m.order(t) != "[2 0 1]" {
		t.Errorf("%+v, order %s", r, m.order(t))
	}
	if path := m.boot(t); path != pathA {
		t.Errorf("boots %s", path)
	}
	s := m.inspect(t)
	if s.Running != A || s.First != A || s.Copies[A].Problem != nil || s.Copies[A].Version != "1" || *s.Copies[A].Entry != 2 || s.Copies[B].Version != "" {
		t.Errorf("%+v", s)
	}
	// Again, from the stick: nothing is written.
	m.fw.Vars["BootCurrent"], m.cmdline, m.fw.Writes = efitest.Words(1), "quiet", nil
	before := m.files(t)
	if r := m.install(t, newRelease("1")); *r != (Result{Copy: A, Entry: 2}) || len(m.fw.Writes) != 0 || !maps.Equal(before, m.files(t)) {
		t.Errorf("%+v, writes %q", r, m.fw.Writes)
	}
	// Windows put itself first meanwhile.
	m.fw.Vars["BootOrder"] = efitest.Words(0, 2, 1)
	if r := m.install(t, newRelease("1")); *r != (Result{Copy: A, Entry: 2, OrderChanged: true}) || m.order(t) != "[2 0 1]" {
		t.Errorf("%+v", r)
	}
	// Another release, from a stick: the other copy; the old one stays whole.
	if r := m.install(t, newRelease("2")); r.Copy != B || !r.Written || m.order(t) != "[3 2 0 1]" {
		t.Errorf("%+v, order %s", r, m.order(t))
	}
	if s := m.inspect(t); s.Copies[A].Problem != nil || s.Copies[B].Problem != nil || s.First != B {
		t.Errorf("%+v", s)
	}
	if path := m.boot(t); path != pathB {
		t.Errorf("boots %s", path)
	}
}

func TestInstallRepairs(t *testing.T) {
	m := newMachine(t)
	m.install(t, newRelease("1"))
	path := m.find("EFI/Troy/a/" + release.Initrd)
	b, err := os.ReadFile(path)
	must(t, err)
	b[len(b)/2] ^= 1
	must(t, os.WriteFile(path, b, 0o600))
	if s := m.inspect(t); !errors.Is(s.Copies[A].Problem, ErrSource) || !strings.Contains(s.Copies[A].Problem.Error(), release.Initrd) {
		t.Errorf("%v", s.Copies[A].Problem)
	}
	// What is first is not written to, even if it is broken: the other copy is.
	if r := m.install(t, newRelease("1")); r.Copy != B || !r.Written || m.order(t) != "[3 2 0 1]" {
		t.Errorf("%+v", r)
	}
	must(t, os.Remove(m.find("EFI/Troy/b/"+release.Kernel)))
	if s := m.inspect(t); s.Copies[B].Problem == nil {
		t.Error("a missing kernel is not seen")
	}
	if r := m.install(t, newRelease("1")); r.Copy != A || !r.Written {
		t.Errorf("%+v", r)
	}
}

func TestConfig(t *testing.T) {
	m := newMachine(t)
	m.install(t, newRelease("1"))
	b, err := os.ReadFile(m.find("EFI/Troy/a/" + configName))
	must(t, err)
	want := `linux "$here/vmlinuz" console=ttyS0 'troy.server=https://[fd00::1]:8443/?a=$b&c#d' troy.copy=a; then`
	if !strings.Contains(string(b), `initrd "$here/initramfs.cpio.zst" "$here/site.cpio"; then`) {
		t.Errorf("%s", b)
	}
	if !strings.Contains(string(b), want) || strings.Contains(string(b), "COPY") || strings.Contains(string(b), "OTHER") || strings.Contains(string(b), "SHIM") {
		t.Errorf("%s", b)
	}
	for _, bad := range []string{"a'b", `a"b`, `a\b`, "a\x01", "ä"} {
		r := newRelease("2")
		r.Cmdline = bad
		if _, err := Install(t.Context(), m.Options, r); !errors.Is(err, ErrRelease) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Whatever is refused leaves everything as it was.
func TestInstallRefused(t *testing.T) {
	broken := func(change func(r *Release, kernel *release.File)) *Release {
		r := newRelease("9")
		change(r, r.File(release.Kernel))
		return r
	}
	for name, c := range map[string]struct {
		release *Release
		want    error
	}{
		"hash":       {broken(func(_ *Release, f *release.File) { f.SHA256[0]++ }), ErrSource},
		"too short":  {broken(func(_ *Release, f *release.File) { f.Size++ }), ErrSource},
		"too long":   {broken(func(_ *Release, f *release.File) { f.Size-- }), ErrSource},
		"unreadable": {broken(func(r *Release, _ *release.File) { r.Open = failsAt(r, release.Kernel) }), syscall.EIO},
		"no GRUB":    {broken(func(r *Release, _ *release.File) { r.Open = failsAt(r, release.GRUB) }), syscall.EIO},
		"GRUB":       {broken(otherGRUB), ErrRelease},
		"name":       {broken(func(_ *Release, f *release.File) { f.Name = "../vmlinuz" }), ErrRelease},
		"two alike":  {broken(func(_ *Release, f *release.File) { f.Name = "SHIMX64.EFI" }), ErrRelease},
		"manifest":   {broken(func(_ *Release, f *release.File) { f.Name = "Manifest.JSON" }), ErrRelease},
		"no reader":  {broken(func(r *Release, _ *release.File) { r.Open = nil }), ErrRelease},
		"negative":   {broken(func(_ *Release, f *release.File) { f.Size = -1 }), ErrRelease},
		"empty":      {broken(func(_ *Release, f *release.File) { f.Size = 0 }), ErrRelease},
		"version":    {newRelease("9 9"), ErrRelease},
		"no version": {newRelease(""), ErrRelease},
		"further":    {broken(func(r *Release, _ *release.File) { r.Files = append(r.Files, release.File{Name: "more", Size: 1}) }), ErrRelease},
		"no start":   {inMemory("9", map[string][]byte{release.Kernel: []byte("kernel")}), ErrRelease},
		"nothing":    {inMemory("9", nil), ErrRelease},
	} {
		m := newMachine(t)
		m.install(t, newRelease("1"))
		m.install(t, newRelease("2"))
		before, vars := m.files(t), maps.Clone(m.fw.Vars)
		_, err := Install(t.Context(), m.Options, c.release)
		if !errors.Is(err, c.want) || strings.Contains(fmt.Sprint(err), "\n") {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if !maps.Equal(before, m.files(t)) || !maps.EqualFunc(vars, m.fw.Vars, bytes.Equal) {
			t.Errorf("%s: something was changed", name)
		}
	}
}

// failsAt reads all but one file.
func failsAt(r *Release, bad string) func(string) (io.ReadCloser, error) {
	open := r.Open
	return func(name string) (io.ReadCloser, error) {
		if name == bad {
			return nil, syscall.EIO
		}
		return open(name)
	}
}

// otherGRUB gives the release a GRUB that reads a configuration of others.
func otherGRUB(r *Release, _ *release.File) {
	other := inMemory(r.Version, map[string][]byte{release.GRUB: []byte("normal (memdisk)/grub.cfg")})
	*r.File(release.GRUB) = other.Files[0]
	open := r.Open
	r.Open = func(name string) (io.ReadCloser, error) {
		if name == release.GRUB {
			return other.Open(name)
		}
		return open(name)
	}
}

func TestBadOptions(t *testing.T) {
	m := newMachine(t)
	for name, change := range map[string]func(o *Options){
		"no ESP":  func(o *Options) { o.ESPDir = "" },
		"no GUID": func(o *Options) { o.ESP.GUID[0] = 0 },
	} {
		o := *m.Options
		change(&o)
		if _, err := Install(t.Context(), &o, newRelease("1")); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRoom(t *testing.T) {
	_, m, err := newRelease("1").forCopy(A)
	must(t, err)
	need := int64(reserve + 8*4096)
	for _, f := range m.Files {
		need += (f.Size + 4095) / 4096 * 4096
	}
	if err := room(m, nil, need, 4096); err != nil {
		t.Error(err)
	}
	if err := room(m, nil, need-1, 4096); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "nothing was changed") {
		t.Error(err)
	}
	if err := room(m, []int64{1, 4097}, need-3*4096, 4096); err != nil {
		t.Error("the old copy makes room:", err)
	}
	if err := room(m, []int64{1, 4097}, need-3*4096-1, 4096); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
}

// NVRAM that takes nothing: the files are there, the error says so, and the
// next try writes no files again.
func TestInstallFirmwareRefuses(t *testing.T) {
	for _, name := range []string{"Boot0002", "BootOrder"} {
		m := newMachine(t)
		m.fw.Refuse[name] = syscall.ENOSPC
		_, err := Install(t.Context(), m.Options, newRelease("1"))
		if !errors.Is(err, chainload.ErrFirmware) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "copy a is on the ESP") {
			t.Errorf("%s: %v", name, err)
		}
		clear(m.fw.Refuse)
		if r := m.install(t, newRelease("1")); r.Written || r.Copy != A || m.boot(t) != pathA {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// Without grubenv, or with a broken one, a new copy brings one; a good one is kept.
func TestGrubenv(t *testing.T) {
	m := newMachine(t)
	m.install(t, newRelease("1"))
	env := m.find("EFI/Troy/grubenv")
	must(t, os.WriteFile(env, []byte("broken"), 0o600))
	m.install(t, newRelease("2"))
	b, err := os.ReadFile(env)
	if err != nil || len(b) != 1024 || filepath.Base(env) != "grubenv" {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func FuzzParseManifest(f *testing.F) {
	_, m, err := newRelease("1").forCopy(A)
	if err != nil {
		f.Fatal(err)
	}
	seed, err := m.marshal()
	if err != nil || len(seed) == 0 {
		f.Fatal("no seed", err)
	}
	line, _, _ := bytes.Cut(seed, []byte("\n"))
	f.Add(line)
	f.Fuzz(func(t *testing.T, line []byte) {
		line = append(bytes.Clone(line), '\n')
		m, err := parseManifest(append(line, sum(line)...))
		if err != nil {
			if !errors.Is(err, ErrManifest) {
				t.Error(err)
			}
			return
		}
		again, err := m.marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseManifest(again); err != nil {
			t.Errorf("%s: %v", again, err)
		}
		if _, err := parseManifest(again[:len(again)-1]); !errors.Is(err, ErrManifest) {
			t.Errorf("cut: %v", err)
		}
	})
}
