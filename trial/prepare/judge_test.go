package prepare

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"troy/chainload/regf"
	"troy/image"
	"troy/image/publish"
	"troy/image/source"
	"troy/internal/testing/samples"
	"troy/trial/inside"
	"troy/vhdx"
)

// put writes a file into a volume.
func put(t *testing.T, volume, name string, content []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	output(t, "ntfscp", "-q", "-f", volume, path, name)
}

// What must not be written to is refused with the reason, before anything is made of it.
func TestRefused(t *testing.T) {
	sound := windowsVolume(t, smallHive(t, nil))
	dirty := smallHive(t, nil)
	binary.LittleEndian.PutUint32(dirty[4:], binary.LittleEndian.Uint32(dirty[4:])+1) // a write began
	var check uint32
	for i := 0; i < 508; i += 4 {
		check ^= binary.LittleEndian.Uint32(dirty[i:])
	}
	binary.LittleEndian.PutUint32(dirty[508:], check)
	for name, c := range map[string]struct {
		change func(t *testing.T, volume string)
		says   string
	}{
		"hibernated": {func(t *testing.T, volume string) {
			put(t, volume, "hiberfil.sys", append([]byte("HIBR"), make([]byte, 8188)...))
		}, "hibernated"},
		"BitLocker": {func(t *testing.T, volume string) {
			f, err := os.OpenFile(volume, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte("-FVE-FS-"), 3); err != nil {
				t.Fatal(err)
			}
		}, "BitLocker"},
		"unclean":    {func(t *testing.T, volume string) { output(t, "ntfsfix", volume) }, "not dismounted"}, // it sets the flag
		"dirty hive": {func(t *testing.T, volume string) { put(t, volume, "WINDOWS/System32/config/SYSTEM", dirty) }, "registry was not closed"},
		"no hive":    {func(t *testing.T, volume string) { put(t, volume, "WINDOWS/System32/config/SYSTEM", []byte("regf")) }, "registry"},
	} {
		t.Run(name, func(t *testing.T) {
			volume := filepath.Join(t.TempDir(), "volume")
			output(t, "cp", "--sparse=always", sound, volume)
			c.change(t, volume)
			d, err := recogniseRaw(t, volume)
			if err != nil { // package source refuses BitLocker by itself
				if !strings.Contains(err.Error(), c.says) {
					t.Error(err)
				}
				return
			}
			defer d.Close()
			if w, err := judge(d.Reader, d.Size, int(d.SectorSize)); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%+v, %v", w, err)
			}
		})
	}
}

func recogniseRaw(t *testing.T, path string) (*source.Disk, error) {
	t.Helper()
	s, err := source.Recognise(path)
	if err != nil {
		return nil, err
	}
	return s.Open(t.Context(), &source.Options{})
}

// An installation medium is not for Disk, and nothing is left of a disk that is refused.
func TestDiskRefused(t *testing.T) {
	volume := windowsVolume(t, smallHive(t, nil))
	put(t, volume, "hiberfil.sys", append([]byte("HIBR"), make([]byte, 8188)...))
	wim := filepath.Join(t.TempDir(), "x.wim")
	output(t, "wimlib-imagex", "capture", t.TempDir(), wim, "--no-acls")
	for _, path := range []string{volume, wim} {
		o := options(t, recognise(t, path))
		if p, err := Disk(t.Context(), o); !errors.Is(err, ErrRefused) {
			t.Errorf("%+v, %v", p, err)
		}
		if list, err := os.ReadDir(o.Dir); err != nil || len(list) != 0 {
			t.Errorf("left behind: %v, %v", list, err)
		}
	}
}

// What is planned for a Windows, before and after its setup.
func TestPlan(t *testing.T) {
	for _, before := range []bool{false, true} {
		volume := windowsVolume(t, smallHive(t, func(root *regf.Key) {
			if before {
				root.Key("Setup").Set("OOBEInProgress", regf.DWORD, regf.EncodeDWORD(1))
			}
		}))
		s := recognise(t, volume)
		d, err := s.Open(t.Context(), &source.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		w, err := judge(d.Reader, d.Size, int(d.SectorSize))
		if err != nil || w.setup != before || w.start != volumeStart || w.size != volumeSize {
			t.Fatalf("%+v, %v", w, err)
		}
		o := options(t, s)
		j, files, err := w.plan(t.Context(), o)
		if err != nil || j.Start != volumeStart {
			t.Fatalf("%+v, %v", j, err)
		}
		if before {
			if answer := files[`\Windows\Panther\unattend.xml`]; len(files) != 1 || !strings.Contains(string(answer), "en-US") || j.Order != nil {
				t.Errorf("%+v with %d files", j, len(files))
			}
			continue
		}
		if string(files[`\Troy\GATES.EXE`]) != "MZ the program" || check(files[hivePath], `ControlSet002\Services`, []string{"disk", "zz"}) != nil ||
			!reflect.DeepEqual(j.Order, &inside.Order{Number: 1, BallastMiB: 4, Stamp: 9}) || len(files) != 2 {
			t.Errorf("%+v with %d files", j, len(files))
		}
		o.Program = filepath.Join(o.Dir, "none")
		if _, _, err := w.plan(t.Context(), o); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("without the program: %v", err)
		}
	}
}

// The copy holds what the disk holds, of a chain as well, and zeros take no space.
func TestCopyDisk(t *testing.T) {
	t.Run("differencing", func(t *testing.T) {
		dir := t.TempDir()
		child := samples.Unpack(t, dir, "vhdx/fat-differential.vhdx")
		samples.Unpack(t, dir, "vhdx/fat-parent.vhdx")
		s := recognise(t, child)
		d, err := s.Open(t.Context(), &source.Options{Parents: &vhdx.Parents{Named: []string{filepath.Join(dir, "fat-parent.vhdx")}}})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		path := filepath.Join(dir, "copy")
		if err := copyDisk(t.Context(), path, d.Disk, nil); err != nil {
			t.Fatal(err)
		}
		if said := output(t, "md5sum", path); !strings.HasPrefix(said, "cb133190486199033a27e789dd5d530c") {
			t.Error(said)
		}
	})
	content := make([]byte, 3*mib+512)
	for _, at := range []int{0, zeroUnit - 1, 2 * mib, len(content) - 1} {
		content[at] = 7
	}
	whole := &publish.Disk{Reader: strings.NewReader(string(content)), Size: int64(len(content)), SectorSize: 512}
	path := filepath.Join(t.TempDir(), "copy")
	if err := copyDisk(t.Context(), path, whole, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !slices.Equal(got, content) {
		t.Errorf("the copy differs: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 4*zeroUnit { // three units have content
		t.Errorf("it takes %d bytes", used)
	}
	if err := copyDisk(t.Context(), path, whole, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("a file that is there is written over: %v", err)
	}
	broken := errors.New("cannot be read")
	for name, d := range map[string]*publish.Disk{
		"read":   {Reader: failing{broken}, Size: mib},
		"ranges": {Size: mib, Data: func(yield func(image.Range, error) bool) { yield(image.Range{}, broken) }},
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := copyDisk(t.Context(), path, d, nil); !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something was left behind: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := copyDisk(ctx, filepath.Join(t.TempDir(), "copy"), whole, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// compare finds what a Linux that does not write what it should would leave.
func TestCompare(t *testing.T) {
	volume := windowsVolume(t, smallHive(t, nil))
	path := disk(t, volume)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	w, err := judge(f, info.Size(), 512)
	if err != nil {
		t.Fatal(err)
	}
	same := map[string][]byte{`\Windows\Panther\setup.log`: []byte("x")}
	if err := w.compare(path, &job{}, same); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		j     *job
		files map[string][]byte
	}{
		"other":   {&job{}, map[string][]byte{`\Windows\Panther\setup.log`: []byte("y")}},
		"missing": {&job{}, map[string][]byte{`\Troy\GATES.EXE`: nil}},
		"no file": {&job{Order: &inside.Order{Number: 1, BallastMiB: 1}}, same},
	} {
		if err := w.compare(path, c.j, c.files); err == nil {
			t.Errorf("%s: is not found", name)
		}
	}
}

// The part of the guest that writes finds names in any case, and keeps a longer file's end away.
func TestGuestWrites(t *testing.T) {
	root, here := t.TempDir(), filepath.Join(t.TempDir(), "0")
	old := filepath.Join(root, "WINDOWS", "System32", "x")
	if err := errors.Join(os.MkdirAll(filepath.Dir(old), 0o755), os.WriteFile(old, []byte("much longer"), 0o644), os.WriteFile(here, []byte("new"), 0o644)); err != nil {
		t.Fatal(err)
	}
	j := &job{Files: map[string]string{`\Windows\system32\X`: here, `\Troy\GATES.EXE`: here}, Order: &inside.Order{Number: 1, BallastMiB: 1, Stamp: 3}}
	if err := j.write(root); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{old, filepath.Join(root, "Troy", "GATES.EXE")} {
		if b, err := os.ReadFile(path); err != nil || string(b) != "new" {
			t.Errorf("%s: %q, %v", path, b, err)
		}
	}
	if list, err := os.ReadDir(filepath.Join(root, "Troy")); err != nil || len(list) != 3 {
		t.Errorf("%v, %v", list, err)
	}
	if err := (&job{Files: map[string]string{`\none\x`: here}}).write(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// A job survives its file, and a file that is none is an error of the guest, not its end.
func TestJob(t *testing.T) {
	j := &job{Start: 1 << 40, Files: map[string]string{`\a`: "/trial/0"}, Order: &inside.Order{Number: 1, BallastMiB: 1}}
	b, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	got := new(job)
	if err := json.Unmarshal(b, got); err != nil || !reflect.DeepEqual(got, j) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := work([]byte("{")); err == nil {
		t.Error("what is no job is done")
	}
	Inside() // not process 1: it returns
}

// What a killed Disk left does not keep the next one from its work, and nothing else is touched.
func TestClear(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"source-1/disk.raw", "prepare-22/kernel", "store/source-3", "trial.json", DiskName} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := Clear(dir); err != nil {
		t.Fatal(err)
	}
	list, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(list) != 2 || filepath.Base(list[0]) != "store" || filepath.Base(list[1]) != "trial.json" {
		t.Errorf("left: %v, %v", list, err)
	}
	if inner, err := filepath.Glob(filepath.Join(dir, "store", "*")); err != nil || len(inner) != 1 {
		t.Errorf("in the store: %v, %v", inner, err)
	}
}
