package golden_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/chainload/regf"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/capture"
	"troy/image/fields"
	"troy/image/fields/find"
	"troy/image/golden"
	"troy/image/publish"
	"troy/image/unused"
	"troy/internal/block"
	"troy/internal/testing/goldenpc"
	"troy/internal/testing/imagetest"
	"troy/internal/testing/needs"
	"troy/internal/utf16le"
)

const (
	volumeAt, volumeLen = 1 << 20, 40 << 20
	secret              = "s3cr3t-of-the-golden-pc"
	systemPath          = "Windows/System32/config/SYSTEM"
	softwarePath        = "Windows/System32/config/SOFTWARE"
	machinePath         = "Troy/machine.json"
)

// volume is an NTFS volume in a file.
type volume struct {
	t          *testing.T
	path       string
	head, tail []byte // of the disk, around the volume
}

func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func newVolume(t *testing.T) *volume {
	t.Helper()
	needs.Root(t)
	v := &volume{t: t, path: filepath.Join(t.TempDir(), "volume")}
	b := make([]byte, volumeLen)
	imagetest.Fill(imagetest.Seeded(t, 3), b) // free clusters hold garbage
	must(t, os.WriteFile(v.path, b, 0o644))
	tool(t, "mkntfs", "-Q", "-F", "-q", "-c", "4096", "-s", "512", "-p", "2048", "-H", "16", "-S", "63", v.path)
	return v
}

// write writes files, and removes those that are nil.
func (v *volume) write(files map[string][]byte) {
	v.t.Helper()
	must(v.t, pcdisk.Mounted(context.Background(), v.path, func(root string) error {
		for _, name := range slices.Sorted(func(yield func(string) bool) {
			for name := range files {
				if !yield(name) {
					return
				}
			}
		}) {
			path := filepath.Join(root, name)
			err := os.MkdirAll(filepath.Dir(path), 0o755)
			if b := files[name]; b == nil {
				err = errors.Join(err, os.Remove(path))
			} else {
				err = errors.Join(err, os.WriteFile(path, b, 0o644))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
}

// disk returns a disk with the volume.
func (v *volume) disk() []byte {
	v.t.Helper()
	b, err := os.ReadFile(v.path)
	must(v.t, err)
	if v.head == nil { // sgdisk waits a second, so it is run once
		path := filepath.Join(v.t.TempDir(), "disk")
		must(v.t, os.WriteFile(path, make([]byte, volumeAt+volumeLen+1<<20), 0o644))
		tool(v.t, "sgdisk", "-U", "11111111-2222-3333-4444-555555555555", "-n", "1:2048:+40M", "-t", "1:0700", "-u", "1:11111111-2222-3333-4444-666666666666", path)
		d, err := os.ReadFile(path)
		must(v.t, err)
		v.head, v.tail = d[:volumeAt], d[volumeAt+volumeLen:]
	}
	return slices.Concat(v.head, b, v.tail)
}

func hive(t *testing.T, sequence uint32, make func(root *regf.Key)) []byte {
	t.Helper()
	root := &regf.Key{Name: "ROOT", Flags: 4}
	make(root)
	b, err := (&regf.Hive{Root: root, Sequence: sequence}).Marshal()
	must(t, err)
	return b
}

func system(t *testing.T, name string, sequence uint32) []byte {
	return hive(t, sequence, func(root *regf.Key) {
		set := root.Make("ControlSet001")
		set.Make("Control").Make("ComputerName").Make("ComputerName").Set("ComputerName", regf.SZ, regf.EncodeSZ(strings.ToUpper(name)))
		for _, value := range []string{"Hostname", "NV Hostname"} {
			set.Make("Services").Make("Tcpip").Make("Parameters").Set(value, regf.SZ, regf.EncodeSZ(name))
		}
		set.Make("Services").Make("Netlogon").Make("Parameters").Set("DisablePasswordChange", regf.DWORD, regf.EncodeDWORD(sequence%2))
	})
}

func software(t *testing.T, programs map[string]string) []byte {
	return hive(t, 1, func(root *regf.Key) {
		for name, version := range programs {
			top := root
			if strings.HasPrefix(name, "32") {
				top = root.Make("WOW6432Node")
			}
			key := top.Make("Microsoft").Make("Windows").Make("CurrentVersion").Make("Uninstall").Make("{" + name + "}")
			key.Set("DisplayName", regf.SZ, regf.EncodeSZ(name))
			if version == "hidden" {
				key.Set("SystemComponent", regf.DWORD, regf.EncodeDWORD(1))
			}
			if version != "" {
				key.Set("DisplayVersion", regf.SZ, regf.EncodeSZ(version))
			}
		}
	})
}

func spaced(s string, n int) []byte { return append([]byte(s), bytes.Repeat([]byte(" "), n-len(s))...) }

func noise(t *testing.T, seed uint64, n int) []byte {
	b := make([]byte, n)
	imagetest.Fill(imagetest.Seeded(t, seed), b)
	return b
}

// room is a store with a Windows, and what stands on it.
type room struct {
	v     *volume
	store *image.Store
	v1    []byte
	base  string
	m     *image.Manifest
}

func newRoom(t *testing.T) *room {
	t.Helper()
	r := &room{v: newVolume(t), store: imagetest.NewStore(t)}
	r.v.write(map[string][]byte{
		systemPath: system(t, "win-base-000001", 2), machinePath: spaced("{}", 2048), "Windows/old.dll": noise(t, 1, 900_000),
		softwarePath: software(t, map[string]string{"Editor": "1.0", "Reader": "7", "32 Player": "", "Part": "hidden"}),
	})
	r.v1 = r.v.disk()
	var id string
	r.base, id = goldenpc.Base(t, t.TempDir(), r.v1)
	d := &publish.Disk{Reader: bytes.NewReader(r.v1), Size: int64(len(r.v1)), SectorSize: 512, DataWriteGUID: id}
	o := &publish.Options{Filter: unused.Filter{}}
	o.Fields, _ = find.Fields(d.Reader, d.Size, 512)
	if len(o.Fields) != 5 {
		t.Fatalf("fields of version 1: %+v", o.Fields)
	}
	var err error
	r.m, err = publish.Import(t.Context(), r.store, "pc", d, o)
	must(t, err)
	return r
}

// capture makes a session that turns the disk into what the volume holds now, and opens it.
func (r *room) capture(t *testing.T) *golden.Disk {
	t.Helper()
	now := r.v.disk()
	var diff []image.Range
	for at := int64(0); at < int64(len(now)); at += 512 {
		if bytes.Equal(now[at:at+512], r.v1[at:at+512]) {
			continue
		}
		if n := len(diff); n > 0 && diff[n-1].Offset+diff[n-1].Length == at {
			diff[n-1].Length += 512
		} else {
			diff = append(diff, image.Range{Offset: at, Length: 512})
		}
	}
	chain := goldenpc.Open(t, goldenpc.Child(t, r.base, filepath.Base(t.TempDir())+filepath.Base(filepath.Dir(t.TempDir()))+".vhdx", now, diff))
	v := goldenpc.VersionOf(t, r.store, r.m)
	s, err := capture.Open(t.Context(), chain, &v, unused.Filter{})
	must(t, err)
	d, err := golden.Open(t.Context(), r.store, captured(t, s))
	must(t, err)
	return d
}

// TestWindows captures a Windows in which programs were installed: the review names what changed,
// and what was the golden PC's own is nowhere in the version that comes of it.
func TestWindows(t *testing.T) {
	r := newRoom(t)
	work := noise(t, 2, 3_000_000)
	r.v.write(map[string][]byte{
		systemPath: system(t, "golden-pc-00001", 3), machinePath: spaced(`{"join":"`+secret+`"}`, 2048), "Windows/old.dll": nil,
		"Users/anna/Documents/work/a.bin": work, "Users/anna/Documents/b.bin": work[:50_000], "Program Files/Draw/draw.exe": work[1000:701_000],
		softwarePath: software(t, map[string]string{"Editor": "1.1", "32 Player": "", "Draw": "3.0", "Part": "hidden"}),
	})
	d := r.capture(t)
	review, err := d.Review(t.Context())
	must(t, err)
	checkReview(t, review)
	list, notes, err := d.Clear()
	must(t, err)
	if len(list) != 5 || len(notes) > 0 {
		t.Errorf("fields %+v, notes %q", list, notes)
	}
	for _, f := range list {
		if was := map[string]string{fields.ComputerName: "WIN-BASE-000001", fields.Hostname: "win-base-000001", fields.NVHostname: "win-base-000001", fields.DisablePasswordChange: "0"}[f.Name]; f.Was != was {
			t.Errorf("%s is %q, want %q", f.Name, f.Was, was)
		}
	}
	_, err = publish.Add(t.Context(), r.store, "pc", d.Publish(), &publish.Options{Filter: unused.Filter{}, Fields: list})
	must(t, err)
	v2, err := image.OpenVersion(t.Context(), r.store, "pc", 0)
	must(t, err)
	all := make([]byte, v2.Size())
	must(t, block.ReadFull(v2, all, 0))
	for _, own := range [][]byte{[]byte(secret), utf16le.Append(nil, "golden-pc-00001"), utf16le.Append(nil, "GOLDEN-PC-00001")} {
		if bytes.Contains(all, own) {
			t.Errorf("version 2 holds %q", own)
		}
	}
	vol, err := ntfs.Open(bytes.NewReader(all[volumeAt:volumeAt+volumeLen]), volumeLen)
	must(t, err)
	for path, want := range map[string][]byte{`\Users\anna\Documents\work\a.bin`: work, `\Troy\machine.json`: spaced("{}", 2048)} {
		f, err := vol.OpenFile(path)
		must(t, err)
		b := make([]byte, f.Size())
		if err := block.ReadFull(f, b, 0); err != nil || !bytes.Equal(b, want) {
			t.Errorf("%s is another file (%v)", path, err)
		}
	}
	if _, err := fields.Fill(list, &fields.Values{Name: "b204-pc17", Machine: []byte("{}\n")}, v2); err != nil {
		t.Errorf("no PC gets a name: %v", err)
	}
}

func checkReview(t *testing.T, r *golden.Review) {
	t.Helper()
	if len(r.Files) < 3 || r.Files[0].Path != `\Users\anna\Documents\work\a.bin` || r.Files[0].Bytes < 3_000_000 || r.Files[0].Bytes > 3_004_096 || r.Files[1].Path != `\Program Files\Draw\draw.exe` {
		t.Errorf("files %+v", r.Files)
	}
	if len(r.Folders) < 2 || r.Folders[0].Path != `\Users\anna` || r.Folders[0].Bytes < 3_050_000 || r.Folders[1].Path != `\Program Files\Draw` {
		t.Errorf("folders %+v", r.Folders)
	}
	var sum int64
	for _, f := range r.Files {
		sum += f.Bytes
	}
	if r.Bytes < 3_750_000 || r.Bytes > 5_000_000 || sum+r.Elsewhere != r.Bytes || r.Count != len(r.Files) {
		t.Errorf("%d bytes, %d of them in %d files, %d elsewhere", r.Bytes, sum, r.Count, r.Elsewhere)
	}
	var programs []string
	for i := range r.Programs {
		programs = append(programs, r.Programs[i].String())
	}
	if want := []string{"new: Draw 3.0", "Editor 1.1, was 1.0", "gone: Reader 7"}; !slices.Equal(programs, want) || len(r.Notes) > 0 {
		t.Errorf("programs %q, want %q; notes %q", programs, want, r.Notes)
	}
}

// TestClearRefuses: what is there and cannot be cleared keeps the version from being made; what is
// gone does not.
func TestClearRefuses(t *testing.T) {
	r := newRoom(t)
	dirty := system(t, "golden-pc-00001", 3)
	dirty[4] ^= 1 // the first of the two sequence numbers
	dirty[508] ^= 1
	for _, c := range []struct {
		name        string
		files       map[string][]byte
		field, says string
	}{
		{"small file", map[string][]byte{machinePath: []byte(secret)}, fields.MachineFile, "content lies inside the MFT record"},
		{"no file", map[string][]byte{machinePath: nil}, "", `golden PC: \Troy\machine.json is gone, so no PC gets a machine-file of its own`},
		{"hive in use", map[string][]byte{systemPath: dirty}, fields.ComputerName, "was not closed in order"},
		{"no hive", map[string][]byte{systemPath: nil}, fields.ComputerName, "it is not found"},
		{"whole again", map[string][]byte{systemPath: system(t, "win-base-000001", 4), machinePath: spaced("{}", 4096)}, "", ""},
	} {
		r.v.write(c.files)
		_, notes, err := r.capture(t).Clear()
		var e *golden.ClearError
		switch {
		case c.field == "":
			if err != nil || strings.Join(notes, "|") != c.says {
				t.Errorf("%s: %q, %v", c.name, notes, err)
			}
		case !errors.As(err, &e) || e.Name != c.field || !strings.Contains(e.Reason, c.says) || strings.Contains(err.Error(), secret):
			t.Errorf("%s: %v, want %s: %s", c.name, err, c.field, c.says)
		}
	}
}
