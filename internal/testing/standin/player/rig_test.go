package player_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/chainload/regf"
	"troy/chainload/setup"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/gates"
	"troy/internal/testing/diskfile"
	"troy/internal/testing/efiprogram"
	"troy/internal/testing/fixture"
	"troy/internal/testing/medium"
	"troy/internal/testing/needs"
	"troy/internal/testing/standin/player"
	"troy/trial/disc"
	"troy/trial/inside"
	"troy/vhdx"
)

// diskSize is that of the virtual disk, in bytes.
const diskSize = 60 << 20

// rig is a PC whose Windows comes from a medium.
type rig struct {
	t      *testing.T
	dir    string
	disk   string
	disc   string // of the trial; "" = none
	medium *medium.Options
	number int
	lines  []string // said at the last start
}

// newRaw makes the disk of a medium, and says what is on it.
func newRaw(t *testing.T) (raw string, on *medium.Options) {
	t.Helper()
	needs.Root(t)
	dir, seed := t.TempDir(), rand.Uint64()
	t.Logf("seed %d", seed)
	o := &medium.Options{BootManager: filepath.Join(dir, "bootmgfw.efi"), Out: filepath.Join(dir, "win.iso"), BallastMiB: 1, Seed: seed}
	raw = filepath.Join(dir, "raw.img")
	for _, err := range []error{
		os.WriteFile(o.BootManager, efiprogram.Make(efiprogram.Options{}), 0o644),
		medium.Make(t.Context(), o), medium.Disk(t.Context(), o.Out, diskSize, []byte("<unattend/>"), raw),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return raw, o
}

// newRig makes a PC of a raw disk, after a change of the files on it.
func newRig(t *testing.T, raw string, change func(root string) error) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	r.disk = filepath.Join(r.dir, "pc.img")
	if change != nil {
		changed := filepath.Join(r.dir, "changed.img")
		r.tool("cp", "--sparse=always", raw, changed)
		r.change(changed, change)
		raw = changed
	}
	r.must(fixture.MakePC(t.Context(), r.disk, &fixture.PCOptions{Image: "trial", Version: 1, Raw: raw}))
	return r
}

// change changes files of the Windows on a raw disk.
func (r *rig) change(raw string, do func(root string) error) {
	r.t.Helper()
	dev, err := blockdev.Open(raw, nil)
	r.must(err)
	defer dev.Close()
	list, err := blockdev.Volumes(dev, dev.Size(), 512)
	r.must(err)
	volume := filepath.Join(r.dir, "volume")
	part := diskfile.Range{Offset: list[0].Start, Length: list[0].Size}
	r.must(diskfile.Copy(volume, 0, raw, part))
	r.must(pcdisk.Mounted(r.t.Context(), volume, do))
	whole, err := os.ReadFile(volume)
	r.must(err)
	_, err = dev.WriteAt(whole, part.Offset)
	r.must(errors.Join(err, os.Remove(volume)))
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// order puts a disc with the next order into the drive.
func (r *rig) order(stamp uint32, do ...inside.Action) *inside.Order {
	r.t.Helper()
	r.number++
	o := &inside.Order{Number: r.number, Do: do, Stamp: stamp, BallastMiB: 1}
	r.disc = filepath.Join(r.dir, "disc.iso")
	program := filepath.Join(r.dir, "program.exe")
	r.must(os.WriteFile(program, []byte("MZ"), 0o644))
	r.must(disc.Make(r.disc, o, program))
	return o
}

func (r *rig) tool(name string, args ...string) {
	r.t.Helper()
	if out, err := exec.CommandContext(r.t.Context(), name, args...).CombinedOutput(); err != nil {
		r.t.Errorf("%s: %v\n%s", name, err, out)
	}
}

// start plays a start. The power is cut when a line that begins with the given words was said; "":
// when Windows does not come up.
func (r *rig) start(cut string) player.End {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	r.lines = nil
	o := &player.Options{Disks: []string{r.disk}, PC: gates.PC{Model: "image file"}}
	if r.disc != "" {
		o.Discs = []string{filepath.Join(r.dir, "empty drive"), r.disc}
	}
	o.Say = func(format string, args ...any) {
		line := fmt.Sprintf(format, args...)
		r.t.Log(line)
		r.lines = append(r.lines, line)
		if cut != "" && strings.HasPrefix(line, cut) || strings.HasPrefix(line, "Windows does not come up") || strings.HasPrefix(line, "fault") {
			cancel()
		}
	}
	return player.Run(ctx, o)
}

// starts fails unless a start ends so, and says the words.
func (r *rig) starts(want player.End, words ...string) {
	r.t.Helper()
	if end := r.start(""); end != want {
		r.t.Fatalf("the start ends in %q, want %q", end, want)
	}
	for _, w := range words {
		r.said(w)
	}
}

func (r *rig) said(words string) {
	r.t.Helper()
	if !slices.ContainsFunc(r.lines, func(l string) bool { return strings.Contains(l, words) }) {
		r.t.Errorf("%q was not said", words)
	}
}

// outside looks at the disk from outside, and does not write to it.
func (r *rig) outside(look func(host ntfs.Verdict, v *ntfs.Volume, chain *vhdx.Chain)) {
	r.t.Helper()
	target, err := pcdisk.Look(r.disk, &blockdev.Options{ReadOnly: true})
	r.must(err)
	defer target.Close()
	_, _, err = target.Open()
	r.must(err)
	chain, err := pcdisk.Chain(target.Files())
	r.must(err)
	v, err := pcdisk.WindowsVolume(chain, chain.Size(), 512)
	r.must(err)
	look(target.Judge(), v, chain)
}

// closed fails unless both volumes were closed in order, and other programs agree.
func (r *rig) closed() {
	r.t.Helper()
	r.outside(func(host ntfs.Verdict, v *ntfs.Volume, chain *vhdx.Chain) {
		if host.Condition != ntfs.Clean || chain.Files()[0].LogPending() {
			r.t.Errorf("the PC's own volume is %s", host)
		}
		if d := v.Judge().Except(ntfs.ErrSecondWindows); d.Condition != ntfs.Clean {
			r.t.Errorf("the volume is %s", d)
		}
		list, err := blockdev.Volumes(chain, chain.Size(), 512)
		r.must(err)
		inner := filepath.Join(r.dir, "inner")
		f, err := os.Create(inner)
		r.must(err)
		defer os.Remove(inner)
		defer f.Close()
		_, err = io.Copy(f, io.NewSectionReader(chain, list[0].Start, list[0].Size))
		r.must(err)
		r.tool("ntfsfix", "-n", inner)
	})
}

// record returns the record of an order.
func (r *rig) record(o *inside.Order) (got *inside.Record) {
	r.t.Helper()
	r.outside(func(_ ntfs.Verdict, v *ntfs.Volume, _ *vhdx.Chain) {
		f, err := v.OpenFile(inside.RecordFile)
		r.must(err)
		got, err = inside.Of(f, o.Number)
		r.must(err)
	})
	if got == nil {
		r.t.Fatalf("order %d has no record", o.Number)
	}
	return got
}

// stamps returns what the ballast holds.
func (r *rig) stamps() (s inside.Stamps) {
	r.t.Helper()
	r.outside(func(_ ntfs.Verdict, v *ntfs.Volume, _ *vhdx.Chain) {
		f, err := v.OpenFile(inside.BallastFile)
		r.must(err)
		s, err = inside.ReadBallast(f, f.Size())
		r.must(err)
	})
	return s
}

func (r *rig) hive() (b []byte) {
	r.t.Helper()
	r.outside(func(_ ntfs.Verdict, v *ntfs.Volume, _ *vhdx.Chain) {
		f, err := v.OpenFile(`\Windows\System32\config\SYSTEM`)
		r.must(err)
		b, err = io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		r.must(err)
	})
	return b
}

func (r *rig) pending() bool {
	r.t.Helper()
	b := r.hive()
	h, err := regf.NewReader(bytes.NewReader(b), int64(len(b)))
	r.must(err)
	pending, err := setup.PendingIn(h)
	r.must(err)
	return pending
}
