package trial

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/internal/testing/medium"
	"troy/trial/inside"
	"troy/trial/vm"
)

// A trial goes on in any step: the store is made anew over the rest of one, a start of a PC brings
// up the server, and one whose server has died says so instead of waiting for a Windows.
func TestGoesOn(t *testing.T) {
	dir := t.TempDir()
	troy, program := filepath.Join(dir, "troy"), filepath.Join(dir, "program")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", troy, "troy/cmds/troy").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(program, []byte("MZ"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: filepath.Join(dir, "a trial"), Troy: troy, Program: program, Out: io.Discard}
	tr := &Trial{o: o, source: &Source{}, host: &Host{Firmware: &vm.Firmware{Vars: filepath.Join(dir, "none")}}}
	var log bytes.Buffer
	tr.troy = &commands{troy: troy, dir: o.Dir, log: &log, out: io.Discard}
	_, b := tr.pcs()
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var err error
	if tr.tells, err = listen(tr.heard); err != nil {
		t.Fatal(err)
	}
	defer tr.tells.close()
	for range 2 { // the second time over what the first left
		if err := tr.makeStore(t.Context()); err != nil {
			t.Fatalf("%v\n%s", err, &log)
		}
	}
	if _, err := tr.start(t.Context(), b, power{}); !errors.Is(err, os.ErrNotExist) || tr.server == nil {
		t.Fatalf("without firmware: %v, server %v", err, tr.server)
	}
	if err := tr.server.alive(); err != nil {
		t.Fatal(err)
	}
	if err := tr.server.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	tr.server.ended <- <-tr.server.ended
	if _, err := tr.start(t.Context(), b, power{}); !errors.Is(err, ErrCommand) || !strings.Contains(err.Error(), "troy serve") {
		t.Errorf("the server was killed: %v", err)
	}
	if err := tr.server.stop(); err == nil {
		t.Error("a server that was killed ended in order")
	}
}

// Two trials do not write to the same disks, and one may follow another.
func TestOneTrialInAFolder(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, path := range []string{a, b} {
		if err := os.WriteFile(path, []byte("MZ"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{Dir: filepath.Join(dir, "trial"), Source: a}
	first, second := &Trial{o: o, source: &Source{}}, &Trial{o: o, source: &Source{}}
	if err := first.open(); err != nil {
		t.Fatal(err)
	}
	if err := second.open(); !errors.Is(err, ErrFolder) || !strings.Contains(err.Error(), "another trial runs in "+o.Dir) {
		t.Errorf("a second one: %v", err)
	}
	if err := first.save(); err != nil {
		t.Fatal(err)
	}
	if err := first.folder.Close(); err != nil {
		t.Fatal(err)
	}
	other := &Trial{o: o, source: &Source{}}
	other.o.Source = b
	if err := other.open(); !errors.Is(err, ErrFolder) {
		t.Errorf("of another source: %v", err)
	}
	if err := second.open(); err != nil {
		t.Errorf("after the first: %v", err)
	}
	if err := second.folder.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(a, []byte("MZ..."), 0o644); err != nil {
		t.Fatal(err)
	}
	third := &Trial{o: o, source: &Source{}}
	if err := third.open(); !errors.Is(err, ErrFolder) || !strings.Contains(err.Error(), "was written to since") {
		t.Errorf("the source has changed: %v", err)
	}
}

// A disk that had to be converted is judged as one that was looked at before.
func TestConverted(t *testing.T) {
	dir := t.TempDir()
	path := func(n string) string { return filepath.Join(dir, n) }
	if err := os.WriteFile(path("manager"), []byte("MZ"), 0o644); err != nil {
		t.Fatal(err)
	}
	for edition, home := range map[string]bool{"Professional": false, "Core": true} {
		if err := medium.Make(t.Context(), &medium.Options{BootManager: path("manager"), Out: path("iso"), Edition: edition, Installed: true}); err != nil {
			t.Fatal(err)
		}
		if err := medium.Disk(t.Context(), path("iso"), 128<<20, []byte("<unattend/>"), path("raw")); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-O", "qcow2", path("raw"), path("qcow2")).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		s, err := LookAt(t.Context(), path("qcow2"), "")
		if err != nil || s.Edition != "" {
			t.Fatalf("%+v, %v", s, err)
		}
		tr := &Trial{source: s}
		if err := tr.converted(path("raw")); errors.Is(err, ErrSource) != home || !home && err != nil {
			t.Errorf("%s: %v", edition, err)
		}
		if s.Edition != edition || s.Size != 128<<20 {
			t.Errorf("%+v", s)
		}
	}
}

// With the network open a Windows that is bound is refused, known early or late.
func TestAllowed(t *testing.T) {
	s := &Source{Bound: "a domain"}
	if err := s.allowed(&Options{Online: true}); !errors.Is(err, ErrSource) || !strings.Contains(err.Error(), "a domain") {
		t.Error(err)
	}
	if err := s.allowed(&Options{}); err != nil {
		t.Error(err)
	}
}

// Setup is answered in the language that the medium has.
func TestLanguage(t *testing.T) {
	dir := t.TempDir()
	tr := &Trial{o: Options{Dir: dir}, source: &Source{Medium: true, Language: "de-DE"}, troy: &commands{dir: dir}}
	if _, err := tr.importArguments(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "unattend.xml"))
	if err != nil || !bytes.Contains(b, []byte("<UILanguage>de-DE</UILanguage>")) {
		t.Errorf("%v: %s", err, b)
	}
}

// Windows fills its drive, which takes the room of the whole disk; without that step it does not.
func TestNeed(t *testing.T) {
	const gib = 1 << 30
	for name, c := range map[string]struct {
		o    Options
		s    Source
		want int64
	}{
		"medium":  {Options{}, Source{Medium: true, Bytes: 15 * gib}, 49 * gib},
		"size":    {Options{Size: 20 * gib}, Source{Medium: true, Bytes: 15 * gib}, 5 * gib},
		"image":   {Options{Size: 64 * gib}, Source{Size: 40 * gib, Bytes: 15 * gib}, 25 * gib},
		"unknown": {Options{}, Source{Bytes: 15 * gib}, 0},
		"full":    {Options{Until: "full"}, Source{Medium: true, Bytes: 15 * gib}, 49 * gib},
		"before":  {Options{Until: "broken"}, Source{Medium: true, Bytes: 15 * gib}, 0},
	} {
		held := Source{Bytes: c.s.Bytes}
		if got := estimate(&c.o, &c.s, true).Bytes - estimate(&c.o, &held, true).Bytes; got != c.want {
			t.Errorf("%s: %d more, want %d", name, got, c.want)
		}
	}
}

// The interrupt comes through while a disk is read.
func TestCopyPagesEnds(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	read := 0
	err := copyPages(ctx, nil, zeros{}, zeros{}, 1<<40, func(int64) {
		if read++; read == 3 {
			stop()
		}
	})
	if !errors.Is(err, context.Canceled) || read != 3 {
		t.Errorf("%v after %d pieces", err, read)
	}
}

// A host that runs full is told before QEMU stops the PC.
func TestRoomLeft(t *testing.T) {
	dir := t.TempDir()
	if err := roomLeft(dir, 0); err != nil {
		t.Error(err)
	}
	if err := roomLeft(dir, math.MaxInt64); !errors.Is(err, ErrHost) || !strings.Contains(err.Error(), dir) {
		t.Error(err)
	}
}

// A start that has to fill a drive is not given up before the program in Windows gives up.
func TestPatience(t *testing.T) {
	tr := &Trial{host: &Host{KVM: true}, state: state{Longest: time.Minute}}
	short := tr.patience(&power{order: inside.Order{Do: []inside.Action{inside.Fill, inside.Stay}}})
	if want := 10 * time.Minute; short != want {
		t.Errorf("%s, want %s", short, want)
	}
	for _, do := range [][]inside.Action{{inside.Stuff}, {inside.Fill, inside.Retrim}, {inside.Disks}} {
		if got := tr.patience(&power{order: inside.Order{Do: do}}); got != short+inside.ActionLimit {
			t.Errorf("%v: %s, want %s more than %s", do, got, inside.ActionLimit, short)
		}
	}
}
