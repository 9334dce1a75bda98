package testdisk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"troy/gates"
	"troy/internal/digest"
	"troy/internal/format"
	"troy/vhdx"
)

var ctx = context.Background()

// made is a set of test disks for all tests of the package, which may not change it.
var made = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "troy-testdisk")
	if err == nil {
		toRemove = dir
		_, err = Make(ctx, filepath.Join(dir, "set"), &MakeOptions{})
	}
	return dir, err
})

// toRemove is the folder of made, once a test asked for it.
var toRemove string

func TestMain(m *testing.M) {
	code := m.Run()
	if toRemove != "" && os.RemoveAll(toRemove) != nil {
		code = 1
	}
	os.Exit(code)
}

// set returns the folder, and its manifest.
func set(t testing.TB) (string, *Manifest) {
	t.Helper()
	dir, err := made()
	if err != nil {
		t.Fatal(err)
	}
	m, err := Load(filepath.Join(dir, "set"))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "set"), m
}

func diskOf(t testing.TB, m *Manifest, leaf string) *Disk {
	t.Helper()
	i := slices.IndexFunc(m.Disks, func(d Disk) bool { return d.Name() == leaf })
	if i < 0 {
		t.Fatalf("there is no %s", leaf)
	}
	return &m.Disks[i]
}

// some copies disks of the set into a folder of their own.
func some(t testing.TB, leaves ...string) (string, *Manifest) {
	t.Helper()
	from, m := set(t)
	return part(t, from, m, leaves...)
}

// part makes a folder of some disks of another one: leaves and what was merged are copies, the
// parents are the same files.
func part(t testing.TB, from string, m *Manifest, leaves ...string) (string, *Manifest) {
	t.Helper()
	dir := t.TempDir()
	p := &Manifest{Head: m.Head}
	for _, leaf := range leaves {
		d := *diskOf(t, m, leaf)
		for i, f := range d.Files {
			place := copyFile
			if i > 0 {
				place = link
			}
			for _, name := range []string{f.Path, byWindows + "/" + f.Path, byTroy + "/" + f.Path} {
				if _, err := os.Stat(filepath.Join(from, name)); err != nil {
					continue // was not merged
				}
				if name != f.Path {
					place = copyFile
				}
				to := filepath.Join(dir, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), place(to, filepath.Join(from, name))); err != nil {
					t.Fatal(err)
				}
			}
		}
		p.Disks = append(p.Disks, d)
	}
	save(t, dir, p)
	return dir, p
}

// link gives a file a second name. One that several disks stand on may have it already.
func link(to, from string) error {
	if err := os.Link(from, to); !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

func save(t testing.TB, dir string, m *Manifest) {
	t.Helper()
	b, err := format.Indent(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ManifestName), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func newResult() *gates.Result {
	return gates.New(time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC), "0.2-dev", gates.PC{})
}

// Each disk is what it says it is, as 7-Zip sees it: it ignores logs and parent_linkage2, which is
// what two of the disks are there to ask about.
func TestMakeBeside7Zip(t *testing.T) {
	dir, m := set(t)
	for _, d := range m.Disks {
		h := sha256.New()
		cmd := exec.Command("7zz", "x", "-so", "-tvhdx", filepath.Join(dir, d.Name()))
		cmd.Stdout = h
		err := cmd.Run()
		got := digest.Sum(h.Sum(nil))
		switch {
		case d.Cut && err == nil && got == d.SHA256:
			t.Errorf("%s is read without parent_linkage2", d.Name())
		case d.Dirty && got == d.SHA256:
			t.Errorf("%s is read right without its log", d.Name())
		case !d.Cut && !d.Dirty && (err != nil || got != d.SHA256):
			t.Errorf("%s: 7zz reads %v, want %v: %v", d.Name(), got, d.SHA256, err)
		}
	}
}

func TestMade(t *testing.T) {
	dir, m := set(t)
	var all int64
	for _, d := range m.Disks {
		for _, f := range d.Files {
			all += f.Size / int64(len(d.Files))
		}
		if want := strings.HasPrefix(d.Name(), "machine/") || strings.HasPrefix(d.Name(), "merged/"); (len(d.Anchors) > 0) != want {
			t.Errorf("%s has %d anchors", d.Name(), len(d.Anchors))
		}
		if d.Dirty != (d.Name() == "machine/dirty.vhdx") || (d.Merge > 0) == (len(d.Writes) > 0) || d.After == d.SHA256 && len(d.Writes) > 0 {
			t.Errorf("%+v", d)
		}
		head := make([]byte, 2*sector)
		if _, err := d.after().ReadAt(head, 0); err != nil || bytes.Contains(head, []byte("EFI PART")) || head[510] == 0x55 && head[511] == 0xaa {
			t.Errorf("%s has a partition table, or cannot be read: %v", d.Name(), err)
		}
	}
	if all > 200*mib {
		t.Errorf("%d MiB are much to carry", all/mib)
	}
	for leaf, n := range map[string]int{"machine/fresh.vhdx": 2, "machine/chain3.vhdx": 3, "machine/chain4.vhdx": 4, "plain/fixed.vhdx": 1} {
		if d := diskOf(t, m, leaf); len(d.Files) != n {
			t.Errorf("%s is a chain of %d", leaf, len(d.Files))
		}
	}
	report, err := checkFile(filepath.Join(dir, "plain/space.vhdx"))
	if err != nil {
		t.Fatal(err)
	}
	if used := report.InFile * blockSize; diskOf(t, m, "plain/space.vhdx").Files[0].Size < used+7*mib-blockSize+mib {
		t.Errorf("plain/space.vhdx has no space that is not used: %d blocks", report.InFile)
	}
	if _, err := Make(ctx, dir, &MakeOptions{}); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("into a folder that is not empty: %v", err)
	}
	for _, size := range []int64{1, mib, 5 * mib, maxSize/8 + blockSize} {
		if _, err := Make(ctx, filepath.Join(t.TempDir(), "x"), &MakeOptions{Size: size}); !errors.Is(err, ErrSize) {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

func checkFile(path string) (*vhdx.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return vhdx.Check(f, info.Size(), nil)
}

func TestLoad(t *testing.T) {
	for _, c := range []struct{ name, text, says string }{
		{"nothing", "", "malformed JSON"},
		{"no disks", `{"format":1,"disks":[]}`, "0 disks"},
		{"gate", `{"format":1,"disks":[{"gate":"W99"}]}`, `no gate "W99"`},
		{"files", `{"format":1,"disks":[{"gate":"W1","files":[]}]}`, "0 files"},
		{"size", `{"format":1,"disks":[{"gate":"W1","files":[{"path":"a.vhdx"}],"size":-512}]}`, "-512 bytes"},
		{"way out", `{"format":1,"disks":[{"gate":"W1","files":[{"path":"../a.vhdx"}],"size":512}]}`, "no file of this folder"},
		{"from the root", `{"format":1,"disks":[{"gate":"W1","files":[{"path":"/a.vhdx"}],"size":512}]}`, "no file of this folder"},
		{"other kind", `{"format":1,"disks":[{"gate":"W1","files":[{"path":"a.txt"}],"size":512}]}`, "no file of this folder"},
		{"elsewhere", `{"format":1,"disks":[{"gate":"W1","files":[{"path":"a.vhdx"},{"path":"b/a.vhdx"}],"size":512}]}`, "is not beside"},
		{"piece", `{"format":1,"disks":[{"gate":"W1","files":[{"path":"a.vhdx"}],"size":512,"writes":[{"offset":512,"length":512}]}]}`, "not whole sectors"},
		{"huge piece", `{"format":1,"disks":[{"gate":"W1","files":[{"path":"a.vhdx"}],"size":512,"holds":[{"offset":512,"length":9223372036854775296}]}]}`, "not whole sectors"},
		{"merge", `{"format":1,"disks":[{"gate":"W1","files":[{"path":"a.vhdx"}],"size":512,"merge":1}]}`, "chain of 1"},
		{"needs", `{"format":1,"needs":["wings"],"disks":[]}`, `needs "wings"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
	if _, err := parse(make([]byte, maxManifest+1)); !errors.Is(err, ErrManifest) {
		t.Errorf("%v", err)
	}
	if _, err := Load(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"format":1,"disks":[{"gate":"W1","files":[{"path":"a.vhdx","size":1048576}],"size":1048576,` +
		`"holds":[{"offset":0,"length":4096,"seed":1}],"writes":[{"offset":512,"length":1024,"seed":2}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		for _, d := range m.Disks {
			p := make([]byte, min(d.Size, 3*unit))
			if n, err := d.after().ReadAt(p, d.Size-int64(len(p))); n < len(p) {
				t.Errorf("%d of %d bytes: %v", n, len(p), err)
			}
		}
		again, err := format.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parse(again); err != nil {
			t.Errorf("what was read is refused when it is written: %v", err)
		}
	})
}
