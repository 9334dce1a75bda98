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
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/u-root/mkuimage/cpio"

	"troy/chainload"
	"troy/chainload/efiboot"
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
	r := m.install(t, release("1"))
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
	m.fw.Vars["BootCurrent"], m.Cmdline, m.fw.Writes = efitest.Words(1), "quiet", nil
	before := m.files(t)
	if r := m.install(t, release("1")); *r != (Result{Copy: A, Entry: 2}) || len(m.fw.Writes) != 0 || !maps.Equal(before, m.files(t)) {
		t.Errorf("%+v, writes %q", r, m.fw.Writes)
	}
	// Windows put itself first meanwhile.
	m.fw.Vars["BootOrder"] = efitest.Words(0, 2, 1)
	if r := m.install(t, release("1")); *r != (Result{Copy: A, Entry: 2, OrderChanged: true}) || m.order(t) != "[2 0 1]" {
		t.Errorf("%+v", r)
	}
	// Another release, from a stick: the other copy; the old one stays whole.
	if r := m.install(t, release("2")); r.Copy != B || !r.Written || m.order(t) != "[3 2 0 1]" {
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
	m.install(t, release("1"))
	path := m.find("EFI/Troy/a/" + InitrdName)
	b, err := os.ReadFile(path)
	must(t, err)
	b[len(b)/2] ^= 1
	must(t, os.WriteFile(path, b, 0o600))
	if s := m.inspect(t); !errors.Is(s.Copies[A].Problem, ErrSource) || !strings.Contains(s.Copies[A].Problem.Error(), InitrdName) {
		t.Errorf("%v", s.Copies[A].Problem)
	}
	// What is first is not written to, even if it is broken: the other copy is.
	if r := m.install(t, release("1")); r.Copy != B || !r.Written || m.order(t) != "[3 2 0 1]" {
		t.Errorf("%+v", r)
	}
	must(t, os.Remove(m.find("EFI/Troy/b/"+KernelName)))
	if s := m.inspect(t); s.Copies[B].Problem == nil {
		t.Error("a missing kernel is not seen")
	}
	if r := m.install(t, release("1")); r.Copy != A || !r.Written {
		t.Errorf("%+v", r)
	}
}

func TestConfig(t *testing.T) {
	m := newMachine(t)
	r := release("1")
	r.GRUB.Site = []SiteFile{{"ca.pem", []byte("certificate")}}
	m.install(t, r)
	b, err := os.ReadFile(m.find("EFI/Troy/a/" + configName))
	must(t, err)
	want := `linux "$here/vmlinuz" console=ttyS0 'troy.server=https://[fd00::1]:8443/?a=$b&c#d' troy.copy=a; then`
	if !strings.Contains(string(b), `initrd "$here/initramfs.zst" "$here/site.cpio"; then`) {
		t.Errorf("%s", b)
	}
	if !strings.Contains(string(b), want) || strings.Contains(string(b), "COPY") || strings.Contains(string(b), "OTHER") {
		t.Errorf("%s", b)
	}
	for _, bad := range []string{"a'b", `a"b`, `a\b`, "a\x01", "ä"} {
		r := release("2")
		r.GRUB.Cmdline = bad
		if _, err := Install(t.Context(), m.Options, r); !errors.Is(err, ErrRelease) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestUKI(t *testing.T) {
	m := newMachine(t)
	r := m.install(t, NewUKI("1", BytesFile("deploy.efi", []byte("MZ uki"))))
	if path := m.boot(t); r.Copy != A || path != `\EFI\Troy\a\troy.efi` {
		t.Errorf("%+v boots %s", r, path)
	}
	if s := m.inspect(t); s.Running != A || s.First != A {
		t.Errorf("%+v", s)
	}
}

// Whatever is refused leaves everything as it was.
func TestInstallRefused(t *testing.T) {
	broken := func(change func(f *File)) *Release {
		r := release("9")
		change(&r.Files[2])
		return r
	}
	for name, c := range map[string]struct {
		release *Release
		want    error
	}{
		"hash":       {broken(func(f *File) { f.SHA256[0]++ }), ErrSource},
		"too short":  {broken(func(f *File) { f.Size++ }), ErrSource},
		"too long":   {broken(func(f *File) { f.Size-- }), ErrSource},
		"unreadable": {broken(func(f *File) { f.Open = func() (io.ReadCloser, error) { return nil, syscall.EIO } }), syscall.EIO},
		"GRUB":       {NewSigned("9", release("9").Files[0], BytesFile("grubx64.efi.signed", []byte("normal (memdisk)/grub.cfg")), release("9").Files[2], release("9").Files[3], ""), ErrRelease},
		"name":       {broken(func(f *File) { f.Name = "../vmlinuz" }), ErrRelease},
		"two alike":  {broken(func(f *File) { f.Name = "SHIMX64.EFI" }), ErrRelease},
		"manifest":   {broken(func(f *File) { f.Name = "Manifest.JSON" }), ErrRelease},
		"no reader":  {broken(func(f *File) { f.Open = nil }), ErrRelease},
		"negative":   {broken(func(f *File) { f.Size = -1 }), ErrRelease},
		"version":    {release("9 9"), ErrRelease},
		"no version": {release(""), ErrRelease},
		"start":      {&Release{Version: "9", Start: "vmlinuz", Files: release("9").Files}, ErrRelease},
		"no start":   {&Release{Version: "9", Start: UKIName, Files: release("9").Files}, ErrRelease},
	} {
		m := newMachine(t)
		m.install(t, release("1"))
		m.install(t, release("2"))
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

func TestBadOptions(t *testing.T) {
	m := newMachine(t)
	for name, change := range map[string]func(o *Options){
		"no ESP":  func(o *Options) { o.ESPDir = "" },
		"no GUID": func(o *Options) { o.ESP.GUID[0] = 0 },
	} {
		o := *m.Options
		change(&o)
		if _, err := Install(t.Context(), &o, release("1")); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRoom(t *testing.T) {
	_, m, err := release("1").forCopy(A)
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
		_, err := Install(t.Context(), m.Options, release("1"))
		if !errors.Is(err, chainload.ErrFirmware) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "copy a is on the ESP") {
			t.Errorf("%s: %v", name, err)
		}
		clear(m.fw.Refuse)
		if r := m.install(t, release("1")); r.Written || r.Copy != A || m.boot(t) != pathA {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// Without grubenv, or with a broken one, a new copy brings one; a good one is kept.
func TestGrubenv(t *testing.T) {
	m := newMachine(t)
	m.install(t, release("1"))
	env := m.find("EFI/Troy/grubenv")
	must(t, os.WriteFile(env, []byte("broken"), 0o600))
	m.install(t, release("2"))
	b, err := os.ReadFile(env)
	if err != nil || len(b) != 1024 || filepath.Base(env) != "grubenv" {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func FuzzParseManifest(f *testing.F) {
	_, m, err := release("1").forCopy(A)
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

// The archive of the site's files, as a reader that is not ours takes it, and
// with the ends of names that Linux asks for.
func TestSiteArchive(t *testing.T) {
	r := release("1")
	r.GRUB.Site = []SiteFile{{"config", []byte("server: x\n")}, {"ca.pem", bytes.Repeat([]byte("c"), 1001)}}
	m := newMachine(t)
	m.install(t, r)
	b, err := os.ReadFile(m.find("EFI/Troy/a/" + siteName))
	must(t, err)
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(b)))
	must(t, err)
	var names []string
	for _, rec := range records {
		names = append(names, rec.Name)
		if !bytes.Contains(b, append([]byte(rec.Name), 0)) {
			t.Errorf("the name %s does not end in NUL", rec.Name)
		}
	}
	if !slices.Equal(names, []string{"etc", "etc/troy", "etc/troy/config", "etc/troy/ca.pem"}) {
		t.Errorf("names %q", names)
	}
	content, err := io.ReadAll(io.NewSectionReader(records[3], 0, 2000))
	if err != nil || !bytes.Equal(content, r.GRUB.Site[1].Data) {
		t.Errorf("%d bytes, %v", len(content), err)
	}
	r.GRUB.Site[0].Name = "../passwd"
	if _, err := Install(t.Context(), m.Options, r); !errors.Is(err, ErrRelease) {
		t.Error(err)
	}
	r = release("3")
	r.GRUB.Site = []SiteFile{{"config", []byte("other")}}
	if res := m.install(t, r); res.Copy != B {
		t.Errorf("%+v", res)
	}
	// Another site alone is another release.
	r.GRUB.Site[0].Data = []byte("changed")
	if res := m.install(t, r); res.Copy != A || !res.Written {
		t.Errorf("%+v", res)
	}
}
