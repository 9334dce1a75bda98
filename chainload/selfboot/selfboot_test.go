package selfboot

import (
	"bytes"
	"context"
	"encoding/json"
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
	m.fw.vars["BootCurrent"], m.Cmdline, m.fw.writes = words(1), "quiet", nil
	before := m.files(t)
	if r := m.install(t, release("1")); *r != (Result{Copy: A, Entry: 2}) || len(m.fw.writes) != 0 || !maps.Equal(before, m.files(t)) {
		t.Errorf("%+v, writes %q", r, m.fw.writes)
	}
	// Windows put itself first meanwhile.
	m.fw.vars["BootOrder"] = words(0, 2, 1)
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
	m.install(t, release("1"))
	b, err := os.ReadFile(m.find("EFI/Troy/a/" + configName))
	must(t, err)
	want := `linux "$cmdpath/vmlinuz" 'console=ttyS0' 'troy.server=https://[fd00::1]:8443/?a=$b&c#d' 'troy.copy=a'; then`
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
		before, vars := m.files(t), maps.Clone(m.fw.vars)
		_, err := Install(t.Context(), m.Options, c.release)
		if !errors.Is(err, c.want) || strings.Contains(fmt.Sprint(err), "\n") {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if !maps.Equal(before, m.files(t)) || !maps.EqualFunc(vars, m.fw.vars, bytes.Equal) {
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
		m.fw.refuse[name] = syscall.ENOSPC
		_, err := Install(t.Context(), m.Options, release("1"))
		if !errors.Is(err, chainload.ErrFirmware) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "copy a is on the ESP") {
			t.Errorf("%s: %v", name, err)
		}
		clear(m.fw.refuse)
		if r := m.install(t, release("1")); r.Written || r.Copy != A || m.boot(t) != pathA {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// start judges and keeps the state as JSON, as the agent does.
func start(t *testing.T, m *machine, s *State) Verdict {
	t.Helper()
	next, v, message := s.Judge(m.inspect(t))
	b, err := json.Marshal(next)
	must(t, err)
	*s, err = ParseState(b)
	must(t, err)
	if (v == OnTrial || v == TrialFailed) != (message != "") {
		t.Errorf("%s says %q", v, message)
	}
	return v
}

func update(t *testing.T, m *machine, s *State, version string) {
	t.Helper()
	next, err := Update(t.Context(), m.Options, *s, release(version))
	must(t, err)
	*s = next
	m.othersUntouched(t)
}

func TestUpdateConfirmed(t *testing.T) {
	m := newMachine(t)
	m.install(t, release("1"))
	m.boot(t)
	var s State
	for i, to := range []string{"2", "3", "4"} {
		running := []Copy{A, B, A}[i]
		update(t, m, &s, to)
		if *s.Trial != (Trial{Version: to, Copy: running.other(), Entry: s.Trial.Entry, From: fmt.Sprint(i + 1)}) || m.inspect(t).First != running {
			t.Fatalf("%+v", s.Trial)
		}
		if by, err := Arm(m.Options, s.Trial); err != nil || by != chainload.ByBootNext {
			t.Fatal(by, err)
		}
		if _, err := Update(t.Context(), m.Options, s, release("9")); !errors.Is(err, ErrTrial) {
			t.Errorf("during a trial: %v", err)
		}
		m.boot(t)
		if v := start(t, m, &s); v != OnTrial || m.inspect(t).First != running {
			t.Fatalf("%s: the old copy has to stay first until the new one is confirmed", v)
		}
		// Until then a power cut leads back to the old one; that is TestUpdateFails.
		var err error
		if s, err = Confirm(m.Options, s); err != nil || s.Trial != nil {
			t.Fatal(s, err)
		}
		m.boot(t)
		if st := m.inspect(t); start(t, m, &s) != NoTrial || st.First != running.other() || st.Running != st.First || st.Copies[st.First].Version != to {
			t.Errorf("%+v", st)
		}
	}
	if _, err := Update(t.Context(), m.Options, s, release("4")); !errors.Is(err, ErrCurrent) {
		t.Error(err)
	}
}

func TestUpdateFails(t *testing.T) {
	m := newMachine(t)
	m.install(t, release("1"))
	m.boot(t)
	var s State
	update(t, m, &s, "2")
	_, err := Arm(m.Options, s.Trial)
	must(t, err)
	if path := m.boot(t); path != pathB {
		t.Fatalf("boots %s", path)
	}
	if path := m.boot(t); path != pathA { // it hung, and somebody switched it off
		t.Fatalf("boots %s", path)
	}
	if _, err := Confirm(m.Options, s); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("the old agent confirms the new one: %v", err)
	}
	if v := start(t, m, &s); v != TrialFailed || s.Trial != nil {
		t.Fatalf("%s, %+v", v, s)
	}
	before := m.files(t)
	if _, err := Update(t.Context(), m.Options, s, release("2")); !errors.Is(err, ErrFailedBefore) || !maps.Equal(before, m.files(t)) {
		t.Error(err)
	}
	update(t, m, &s, "3")
	s.Trial = nil
	s = s.Forget("2")
	update(t, m, &s, "2")
}

func TestUpdateByGRUB(t *testing.T) {
	m := newMachine(t)
	m.install(t, release("1"))
	m.boot(t)
	var s State
	update(t, m, &s, "2")
	m.fw.refuse["BootNext"] = syscall.EROFS
	if by, err := Arm(m.Options, s.Trial); err != nil || by != chainload.ByGRUB {
		t.Fatal(by, err)
	}
	m.boot(t)
	if v := start(t, m, &s); v != OnTrial {
		t.Fatal(v)
	}
	s, err := Confirm(m.Options, s)
	must(t, err)
	if path := m.boot(t); path != pathB {
		t.Errorf("boots %s", path)
	}
	// Nothing can start the trial: it is said, and nothing is changed.
	update(t, m, &s, "3")
	m.fw.vars["BootOrder"] = words(0, 3, 2)
	if _, err := Arm(m.Options, s.Trial); !errors.Is(err, chainload.ErrFirmware) || !errors.Is(err, syscall.EROFS) {
		t.Error(err)
	}
}

func TestUpdateNeedsInstallation(t *testing.T) {
	m := newMachine(t)
	m.install(t, release("1")) // the stick still runs
	if _, err := Update(t.Context(), m.Options, State{}, release("2")); !errors.Is(err, ErrNotInstalled) {
		t.Error(err)
	}
	s := State{Trial: &Trial{Version: "2", Copy: B}}
	if _, v, _ := s.Judge(m.inspect(t)); v != TrialOpen {
		t.Error(v)
	}
}

// Cut at every file and every few bytes: the copy that is first stays whole,
// the other is never taken for whole, and the next try finishes.
func TestUpdateCutAnywhere(t *testing.T) {
	m := newMachine(t)
	m.install(t, release("1"))
	m.boot(t)
	good := m.files(t)
	for cut := 0; cut < 4; cut++ {
		for _, at := range []int64{0, 1, 20} {
			r := release("2")
			file, opened := r.Files[cut], 0
			r.Files[cut].Open = func() (io.ReadCloser, error) {
				f, err := file.Open()
				if opened++; opened > 1 { // the first time it is only checked
					f = io.NopCloser(io.MultiReader(io.LimitReader(f, at), failing{}))
				}
				return f, err
			}
			_, err := Update(t.Context(), m.Options, State{}, r)
			if !errors.Is(err, syscall.EIO) || !errors.Is(err, chainload.ErrESP) {
				t.Fatalf("file %d at %d: %v", cut, at, err)
			}
			st := m.inspect(t)
			if st.Copies[A].Problem != nil || st.Copies[B].Problem == nil || st.Copies[B].Version != "" || m.boot(t) != pathA {
				t.Fatalf("file %d at %d: %+v", cut, at, st)
			}
			for name, content := range good {
				if m.files(t)[name] != content {
					t.Fatalf("%s changed", name)
				}
			}
		}
	}
	var s State
	update(t, m, &s, "2")
	if st := m.inspect(t); st.Copies[B].Problem != nil || st.Copies[B].Version != "2" {
		t.Errorf("%+v", st)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, syscall.EIO }

func TestCancelled(t *testing.T) {
	m := newMachine(t)
	m.install(t, release("1"))
	m.boot(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := m.files(t)
	if _, err := Update(ctx, m.Options, State{}, release("2")); !errors.Is(err, context.Canceled) || !maps.Equal(before, m.files(t)) {
		t.Error(err)
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

func TestParseState(t *testing.T) {
	for _, bad := range []string{"x", `[]`, `{"trial":{"copy":"c"}}`, `{"trial":{"entry":70000}}`} {
		if s, err := ParseState([]byte(bad)); err == nil || s.Trial != nil {
			t.Errorf("%s: %+v, %v", bad, s, err)
		}
	}
	if s, err := ParseState(nil); err != nil || s.Trial != nil {
		t.Error(s, err)
	}
	many := State{}
	for i := range 3 * maxFailed {
		many.Trial = &Trial{Version: fmt.Sprint(i), Copy: B}
		many, _, _ = many.Judge(&Status{Running: A, Copies: map[Copy]CopyState{}})
	}
	if len(many.Failed) != maxFailed || many.Failed[0] != fmt.Sprint(2*maxFailed) {
		t.Errorf("%q", many.Failed)
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
