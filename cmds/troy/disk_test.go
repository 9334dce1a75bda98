package main

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"troy/chainload/bcd"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/internal/block"
	"troy/internal/guid"
	"troy/internal/testing/diskfile"
	"troy/internal/testing/needs"
	"troy/vhdx"
	"troy/vhdx/vhdxcmd"
)

// storePath is where Windows Boot Manager looks for its store on the ESP.
const storePath = "EFI/Microsoft/Boot/BCD"

const (
	diskVirtual = 24 << 20
	diskSize    = "700M"
)

// troyDisk runs "troy disk", which has to end with code, and returns both outputs.
func troyDisk(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	if got := run(context.Background(), append([]string{"disk"}, args...), &out, &errOut); got != code {
		t.Fatalf("troy disk %q: exit code %d, want %d\n%s%s", args, got, code, out.String(), errOut.String())
	}
	return out.String() + errOut.String()
}

// diskJSON is troyDisk with --json.
func diskJSON[T any](t *testing.T, code int, args ...string) (v T) {
	t.Helper()
	var out, errOut bytes.Buffer
	args = append([]string{"disk", args[0], "--json"}, args[1:]...)
	if got := run(context.Background(), args, &out, &errOut); got != code {
		t.Fatalf("troy %q: exit code %d, want %d\n%s%s", args, got, code, out.String(), errOut.String())
	}
	d := json.NewDecoder(&out)
	d.DisallowUnknownFields()
	must(t, d.Decode(&v))
	return v
}

// refuseDisk runs a command that has to leave the whole image file as it is, and to say so with the
// words.
func refuseDisk(t *testing.T, image string, args []string, words ...string) {
	t.Helper()
	before, err := diskfile.Sum(image)
	must(t, err)
	out := troyDisk(t, exitFailed, args...)
	for _, w := range append(words, "the disk is untouched") {
		if !strings.Contains(out, w) {
			t.Errorf("troy disk %q says %q, want it to hold %q", args, out, w)
		}
	}
	after, err := diskfile.Sum(image)
	must(t, err)
	if after != before {
		t.Errorf("troy disk %q changed the disk", args)
	}
}

// pcDisk is an image file of the disk of a PC that holds version 1, and what the two versions show.
type pcDisk struct {
	t            *testing.T
	r            *rand.Rand
	image        string
	raw1, raw2   string
	disk1, disk2 []byte
}

// newPCDisk prepares an image file that is full of old bytes, so that whatever is not written by
// the command shows.
func newPCDisk(t *testing.T) *pcDisk {
	dir := t.TempDir()
	p := &pcDisk{t: t, r: seeded(t), image: filepath.Join(dir, "pc.img"), raw1: filepath.Join(dir, "v1.raw"), raw2: filepath.Join(dir, "v2.raw")}
	p.disk1 = randomRaw(t, p.r, p.raw1, diskVirtual)
	p.disk2 = bytes.Clone(p.disk1)
	for range 20 {
		p.r.Read(p.disk2[p.r.Intn(len(p.disk2)-100<<10):][:1+p.r.Intn(100<<10)])
	}
	must(t, os.WriteFile(p.raw2, p.disk2, 0o644))
	base := filepath.Join(dir, "base.vhdx")
	wantVHDX(t, 0, "convert", "--to", "dynamic", p.raw1, base)
	old := bytes.Repeat(append([]byte("old bytes "), byte(p.r.Int())), 42<<20)[:432<<20]
	must(t, os.WriteFile(p.image, old, 0o644))
	esp := filepath.Join(dir, "esp")
	must(t, os.MkdirAll(filepath.Join(esp, "EFI", "Microsoft", "Boot"), 0o755))
	must(t, os.WriteFile(filepath.Join(esp, filepath.FromSlash("EFI/Microsoft/Boot/bootmgfw.efi")), []byte("MZ manager"), 0o644))
	must(t, os.WriteFile(filepath.Join(esp, filepath.FromSlash(storePath)), []byte("the store of another machine"), 0o644))
	args := []string{"prepare", "--image", "lab", "--version", "1", "--base", base, "--esp", "40M", "--esp-files", esp, "--slot", "24M", p.image}
	refuseDisk(t, p.image, args, "not empty", "--wipe")
	troyDisk(t, 0, append(args, "--wipe")...)
	return p
}

// machine lets f work as the agent does.
func (p *pcDisk) machine(f func(*pcdisk.Target, *machine.Machine)) {
	p.t.Helper()
	d, err := pcdisk.Look(p.image, nil)
	must(p.t, err)
	defer d.Close()
	m, _, err := d.Open()
	must(p.t, err)
	f(d, m)
}

// deploy brings version 2, up to the commit.
func (p *pcDisk) deploy() {
	p.t.Helper()
	p.machine(func(_ *pcdisk.Target, m *machine.Machine) {
		ctx := p.t.Context()
		var runs []machine.Run
		for off := int64(0); off < diskVirtual; off += 4096 {
			if !bytes.Equal(p.disk1[off:off+4096], p.disk2[off:off+4096]) {
				runs = append(runs, machine.Run{Offset: off, Length: 4096})
			}
		}
		s, err := m.Stage(ctx, &machine.StageRequest{Image: "lab", Version: 2, Runs: runs})
		must(p.t, err)
		for _, r := range runs {
			_, err := s.WriteAt(p.disk2[r.Offset:r.Offset+r.Length], r.Offset)
			must(p.t, err)
		}
		must(p.t, s.Finish(ctx))
		must(p.t, m.Commit(ctx))
	})
}

// windows writes a page as a session of Windows does.
func (p *pcDisk) windows() {
	p.t.Helper()
	p.machine(func(d *pcdisk.Target, _ *machine.Machine) {
		f := d.Files()
		leaf, err := vhdx.OpenStorage(f.Boot.Storage, f.Boot.Size, &vhdx.OpenOptions{Writable: true})
		must(p.t, err)
		below, err := pcdisk.Chain(f)
		must(p.t, err)
		chain, err := vhdx.NewChain(append([]*vhdx.File{leaf}, below.Files()[1:]...)...)
		must(p.t, err)
		page := make([]byte, 4096)
		p.r.Read(page)
		_, err = chain.WriteAt(page, int64(p.r.Intn(diskVirtual/4096))*4096)
		must(p.t, err)
		must(p.t, chain.Close())
	})
}

// outside hashes the disk without the clusters of the \Troy\ files.
func (p *pcDisk) outside() uint64 {
	p.t.Helper()
	var files []diskfile.Range
	for _, f := range diskJSON[jsonDisk](p.t, 0, "inspect", p.image).Files {
		for _, r := range f.Runs {
			files = append(files, diskfile.Range{Offset: r.Offset, Length: r.Length})
		}
	}
	sum, err := diskfile.Sum(p.image, files...)
	must(p.t, err)
	return sum
}

// state is what inspect says.
func (p *pcDisk) state() *jsonDiskState {
	p.t.Helper()
	d := diskJSON[jsonDisk](p.t, 0, "inspect", p.image)
	if d.Problem != "" || d.State == nil {
		p.t.Fatalf("inspect: %+v", d)
	}
	return d.State
}

func TestDiskPrepare(t *testing.T) {
	needs.Root(t)
	p := newPCDisk(t)
	d := diskJSON[jsonDisk](t, 0, "inspect", p.image)
	if d.State == nil || d.State.Image != "lab" || d.State.Version != 1 || !d.State.SlotFree || len(d.Partitions) != 3 || len(d.Files) != 5 {
		t.Fatalf("inspect: %+v", d)
	}
	esp, data := d.Partitions[0], d.Partitions[2]
	for _, f := range d.Files {
		total := int64(0)
		for _, r := range f.Runs {
			total += r.Length
			if r.Offset < data.Start || r.Offset+r.Length > data.Start+data.Size {
				t.Errorf("%s lies at %+v, outside of %+v", f.Path, r, data)
			}
		}
		if total != f.Size || f.Problem != "" {
			t.Errorf("%s: %d bytes in runs of %d; %s", f.Path, f.Size, total, f.Problem)
		}
	}
	res := diskJSON[jsonDiskVerify](t, 0, "verify", "--session", "--against", p.raw1, p.image)
	if !res.OK || res.Bytes != diskVirtual || len(res.Files) != 2 || len(res.Files[0].Findings)+len(res.Files[1].Findings) != 0 {
		t.Errorf("verify: %+v", res)
	}
	at := "@@" + strconv.FormatInt(esp.Start, 10)
	if got := tool(t, "", "mtype", "-i", p.image+at, "::/EFI/Microsoft/Boot/bootmgfw.efi"); string(got) != "MZ manager" {
		t.Errorf("the boot manager on the ESP is %q", got)
	}
	store, err := bcd.Parse(tool(t, "", "mtype", "-i", p.image+at, "::/"+storePath))
	must(t, err)
	id := func(s string) guid.GUID { g, err := guid.Parse(s); must(t, err); return g }
	if err := store.Names(bcd.VHD{Disk: id(d.GUID), Partition: id(data.GUID), Path: bcd.DefaultPath}); err != nil {
		t.Errorf("the BCD store: %v", err)
	}
	volume := filepath.Join(t.TempDir(), "volume")
	must(t, diskfile.Copy(volume, 0, p.image, diskfile.Range{Offset: data.Start, Length: data.Size}))
	tool(t, "", "ntfsresize", "-i", "-f", volume)
	tool(t, "", "sgdisk", "-v", p.image)
}

// TestDiskVersions goes through a life: deployed, rolled back, deployed, merged, used, reset.
// Nothing but the clusters of the files ever changes.
func TestDiskVersions(t *testing.T) {
	needs.Root(t)
	p := newPCDisk(t)
	outside := p.outside()
	same := func(what string) {
		t.Helper()
		if p.outside() != outside {
			t.Errorf("%s changed more than the files", what)
		}
	}
	p.deploy()
	if s := p.state(); s.Version != 2 || s.BaseVersion != 1 || s.Layers != 1 {
		t.Errorf("after the commit: %+v", s)
	}
	troyDisk(t, 0, "verify", "--against", p.raw2, p.image)
	bad := diskJSON[jsonDiskVerify](t, exitCheck, "verify", "--against", p.raw1, p.image)
	checkDifferent(t, bad, p.disk1, p.disk2)
	same("commit")

	troyDisk(t, 0, "rollback", p.image)
	troyDisk(t, 0, "verify", "--session", "--against", p.raw1, p.image)
	same("rollback")
	refuseDisk(t, p.image, []string{"rollback", p.image}, "no older version")

	p.deploy()
	if c := diskJSON[jsonDiskChange](t, 0, "merge", p.image); c.State.Layers != 0 || c.State.BaseVersion != 2 || c.Written == 0 {
		t.Errorf("merge: %+v", c)
	}
	troyDisk(t, 0, "verify", "--session", "--against", p.raw2, p.image)
	same("merge")
	refuseDisk(t, p.image, []string{"rollback", p.image}, "no older version")

	p.windows()
	if !p.state().SessionWritten {
		t.Error("inspect does not see that Windows wrote")
	}
	troyDisk(t, exitCheck, "verify", "--session", "--against", p.raw2, p.image)
	troyDisk(t, 0, "verify", "--against", p.raw2, p.image)
	troyDisk(t, 0, "reset", p.image)
	troyDisk(t, 0, "verify", "--session", "--against", p.raw2, p.image)
	same("reset")
}

// checkDifferent holds the ranges against a comparison made here.
func checkDifferent(t *testing.T, got jsonDiskVerify, a, b []byte) {
	t.Helper()
	pages := map[int64]bool{}
	for _, d := range got.Different {
		for off := d.Offset; off < d.Offset+d.Length; off += 4096 {
			pages[off] = true
		}
	}
	if got.OK || got.More || len(pages) == 0 {
		t.Errorf("verify: ok %t, more %t, %d pages differ", got.OK, got.More, len(pages))
	}
	for off := int64(0); off < int64(len(a)); off += 4096 {
		if differ := !bytes.Equal(a[off:off+4096], b[off:off+4096]); differ != pages[off] {
			t.Fatalf("page at %d: differs %t, verify says %t", off, differ, pages[off])
		}
	}
}

// A damaged file and a foreign disk are found, and nothing is written.
func TestDiskDamaged(t *testing.T) {
	needs.Root(t)
	p := newPCDisk(t)
	p.machine(func(d *pcdisk.Target, _ *machine.Machine) {
		page := block.Aligned(4096)
		_, err := d.Files().Boot.WriteAt(page, vhdx.RegionTable2Offset) // the first copy still tells all
		must(t, err)
	})
	res := diskJSON[jsonDiskVerify](t, exitCheck, "verify", p.image)
	if res.OK || res.Files[0].OK || !slices.ContainsFunc(res.Files[0].Findings, func(f vhdxcmd.Finding) bool { return f.Structure == "region table" }) {
		t.Errorf("verify: %+v", res)
	}
	p.machine(func(d *pcdisk.Target, _ *machine.Machine) {
		h, slot, err := vhdx.ReadHeaders(d.Files().Base)
		must(t, err)
		h.DataWriteGUID, h.SequenceNumber = guid.New(), h.SequenceNumber+1
		_, err = d.Files().Base.WriteAt(h.Marshal(), []int64{vhdx.Header2Offset, vhdx.Header1Offset}[slot])
		must(t, err)
	})
	for _, cmd := range []string{"verify", "merge", "reset", "rollback"} {
		refuseDisk(t, p.image, []string{cmd, p.image}, "base.vhdx", "opened read-write elsewhere")
	}
	if d := diskJSON[jsonDisk](t, 0, "inspect", p.image); d.State != nil || !strings.Contains(d.Problem, "DataWriteGuid") || len(d.Files) != 5 {
		t.Errorf("inspect: %+v", d)
	}
	empty := filepath.Join(t.TempDir(), "empty.img")
	must(t, os.WriteFile(empty, make([]byte, 4<<20), 0o644))
	for _, cmd := range []string{"inspect", "verify", "merge", "reset", "rollback"} {
		refuseDisk(t, empty, []string{cmd, empty}, "no usable GUID partition table")
	}
	refuseDisk(t, empty, []string{"prepare", "--image", "lab", "--version", "1", "--size", "1G", empty}, "not enough space", "4194304 bytes")
}

// A machine whose parent somebody else filled is taken over; its parent is not written to.
func TestDiskAdopt(t *testing.T) {
	needs.Root(t)
	p := newPCDisk(t)
	adopt := []string{"prepare", "--adopt", "--image", "mine", "--version", "7", p.image}
	refuseDisk(t, p.image, adopt, "already")
	var base []byte
	p.machine(func(d *pcdisk.Target, _ *machine.Machine) {
		f := d.Files()
		for _, file := range []machine.File{f.LayerA, f.LayerB, f.Boot, f.Journal} { // as setvaliddata leaves them
			junk := block.Aligned(int(file.Size))
			p.r.Read(junk)
			_, err := file.WriteAt(junk, 0)
			must(t, err)
		}
		base = make([]byte, f.Base.Size)
		must(t, block.ReadFull(f.Base, base, 0))
	})
	outside := p.outside()
	troyDisk(t, 0, adopt...)
	if s := p.state(); s.Image != "mine" || s.Version != 7 || s.Layers != 0 {
		t.Errorf("adopted: %+v", s)
	}
	troyDisk(t, 0, "verify", "--session", "--against", p.raw1, p.image)
	if p.outside() != outside {
		t.Error("more than the files was changed")
	}
	p.machine(func(d *pcdisk.Target, _ *machine.Machine) {
		now := make([]byte, len(base))
		must(t, block.ReadFull(d.Files().Base, now, 0))
		if !bytes.Equal(now, base) {
			t.Error("the parent was changed")
		}
	})
}

// Files of wrong size are named with the numbers.
func TestDiskAdoptSizes(t *testing.T) {
	needs.Root(t)
	image := filepath.Join(t.TempDir(), "pc.img")
	f, err := os.Create(image)
	must(t, err)
	must(t, f.Truncate(600<<20))
	must(t, f.Close())
	const larger = diskVirtual + 8<<20 // the files are made for a disk of this size
	d, _, err := pcdisk.ProvisionBare(t.Context(), image, &pcdisk.BareOptions{Image: "mine", Version: 1, VirtualSize: larger, ESPSize: 64 << 20, Room: 1})
	must(t, err)
	_, err = d.Files().Base.WriteAt(make([]byte, 1<<20), 0)
	must(t, err)
	must(t, d.Close())
	adopt := []string{"prepare", "--adopt", "--image", "mine", "--version", "7", image}
	refuseDisk(t, image, adopt, "base.vhdx")
	d, err = pcdisk.Look(image, nil)
	must(t, err)
	files, err := d.MapFiles()
	must(t, err)
	_, err = machine.FormatBase(files.Base, &machine.BaseOptions{VirtualSize: diskVirtual})
	must(t, err)
	must(t, d.Close())
	refuseDisk(t, image, adopt, "boot.vhdx", strconv.FormatInt(machine.BootChildSize(diskVirtual), 10), strconv.FormatInt(machine.BootChildSize(larger), 10))
}

func TestDiskUsage(t *testing.T) {
	for _, args := range [][]string{
		{"prepare", "x"}, {"prepare", "--image", "a", "--version", "1", "x"}, {"prepare", "--image", "a", "--version", "0", "--size", "1G", "x"},
		{"prepare", "--image", "a", "--version", "1", "--size", "1G", "--base", "b", "x"}, {"inspect"}, {"merge", "a", "b"},
		{"prepare", "--image", "a", "--version", "1", "--adopt", "--wipe", "x"}, {"verify", "--parent", "p", "x"},
		{"prepare", "--image", "a", "--version", "1", "--size", "1G", "--sector-size", "4096", "x"},
	} {
		if out := troyDisk(t, exitUsage, args...); !strings.Contains(out, "usage: troy disk") {
			t.Errorf("troy disk %q says %q", args, out)
		}
	}
}

// TestDiskCreate makes the image file; a size that does not do leaves none behind.
func TestDiskCreate(t *testing.T) {
	needs.Root(t)
	image := filepath.Join(t.TempDir(), "pc.img")
	args := []string{"prepare", "--image", "lab", "--version", "3", "--size", "24M", "--esp", "300M", "--sector-size", "4096", image, "--create"}
	troyDisk(t, exitFailed, append(args, "64M")...)
	if _, err := os.Stat(image); err == nil {
		t.Error("a file was left behind")
	}
	troyDisk(t, 0, append(args, diskSize)...)
	d := diskJSON[jsonDisk](t, 0, "inspect", image)
	if d.SectorSize != 4096 || d.State == nil || d.State.Version != 3 || d.State.VirtualSize != 24<<20 {
		t.Errorf("inspect: %+v", d)
	}
	refuseDisk(t, image, append(args, diskSize), "exists")
}
