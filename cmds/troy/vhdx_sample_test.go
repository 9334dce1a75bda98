package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/internal/cli"
	"troy/internal/testing/diskfile"
	"troy/internal/testing/needs"
	"troy/internal/testing/vhdxfile"
	"troy/vhdx"
	"troy/vhdx/vhdxcmd"
)

func TestVHDXSamplesToRaw(t *testing.T) { vhdxfile.Both(t, samplesToRaw) }

func samplesToRaw(t *testing.T, s vhdxfile.Source) {
	dir := t.TempDir()
	for _, x := range []struct {
		name, kind string
		pending    bool
	}{
		{"fat-parent.vhdx", "fixed", false},
		{"fat-differential.vhdx", "differencing", false},
		{"ntfs-dynamic.vhdx", "dynamic", false},
		{"ext2.vhdx", "dynamic", false},
		{"iotest-dynamic-1G.vhdx", "dynamic", false},
		{"vhdx-log-replay.vhdx", "dynamic", true},
	} {
		t.Run(x.name, func(t *testing.T) {
			if x.name == "iotest-dynamic-1G.vhdx" || x.pending { // disks of 1 GiB
				needs.Time(t)
			}
			path := s.Put(t, dir, x.name)
			before, err := diskfile.Sum(path)
			must(t, err)
			convertsToRaw(t, path)
			info := fromJSON[[]vhdxcmd.Info](t, 0, "info", path)
			if len(info) != 1 || info[0].Kind != x.kind || info[0].LogPending != x.pending || info[0].File != path {
				t.Errorf("info = %+v, want kind %s, log pending %v", info, x.kind, x.pending)
			}
			if said := strings.Contains(wantVHDX(t, 0, "info", path), "pending"); said != x.pending {
				t.Errorf("info tells of a pending log: %v, want %v", said, x.pending)
			}
			code := exitOK
			if x.pending {
				code = exitCheck
			}
			wantVHDX(t, code, "check", path)
			if after, err := diskfile.Sum(path); err != nil || after != before {
				t.Errorf("it was changed by reading it: %v", err)
			}
		})
	}
}

// convertsToRaw compares the raw image with what package vhdx shows, whose tests know what that has
// to be.
func convertsToRaw(t *testing.T, path string) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	wantVHDX(t, 0, "convert", "--to", "raw", path, raw)
	got, err := diskfile.Sum(raw)
	must(t, err)
	c, err := vhdx.OpenChain(path, &vhdx.ChainOptions{Parents: &vhdx.Parents{}})
	must(t, err)
	defer c.Close()
	want, err := diskfile.SumOf(c, c.Size())
	must(t, err)
	if got != want {
		t.Errorf("the raw image is %x, want %x", got, want)
	}
}

// TestVHDXSampleBlocks compares counts with what is known of the file.
func TestVHDXSampleBlocks(t *testing.T) { vhdxfile.Both(t, sampleBlocks) }

func sampleBlocks(t *testing.T, s vhdxfile.Source) {
	path := s.Put(t, t.TempDir(), "lvm2.vhdx")
	info := fromJSON[[]vhdxcmd.Info](t, 0, "info", path)
	want := vhdxcmd.Blocks{Total: 320, FullyPresent: 18, Zero: 39, NotPresent: 238, Unmapped: 25}
	if info[0].Blocks != want {
		t.Errorf("info: blocks %+v, want %+v", info[0].Blocks, want)
	}
	wantVHDX(t, 0, "convert", "--to", "raw", path, path+".raw")
	tool(t, "", "qemu-img", "convert", "-O", "raw", path, path+".qemu")
	sameRaw(t, path+".raw", path+".qemu")
}

// TestVHDXSampleDirtyLog has QEMU replay its own log, on a copy, and compares.
func TestVHDXSampleDirtyLog(t *testing.T) { vhdxfile.Both(t, sampleDirtyLog) }

func sampleDirtyLog(t *testing.T, s vhdxfile.Source) {
	dir := t.TempDir()
	path := s.Put(t, dir, "iotest-dirtylog-10G-4M.vhdx")
	raw := filepath.Join(dir, "disk.raw")
	r := troyVHDX("convert", "--to", "raw", path, raw)
	if r.code != 0 || !strings.Contains(r.errOut, "log was replayed in memory") {
		t.Fatalf("convert: exit code %d, said %q", r.code, r.errOut)
	}
	repaired := copyFile(t, path, filepath.Join(dir, "repaired.vhdx"))
	tool(t, "", "qemu-img", "check", "-q", "-r", "all", repaired)
	tool(t, "", "qemu-img", "convert", "-O", "raw", repaired, repaired+".raw")
	sameRaw(t, raw, repaired+".raw")
	f, err := os.Open(raw)
	must(t, err)
	defer f.Close()
	b := make([]byte, 18<<20+4096) // QEMU's own test of this file expects the pattern in 18 MiB
	_, err = f.ReadAt(b, 0)
	must(t, err)
	if !bytes.Equal(b, append(bytes.Repeat([]byte{0xa5}, 18<<20), make([]byte, 4096)...)) {
		t.Error("the pattern does not fill the first 18 MiB")
	}
}

func TestVHDXSampleParent(t *testing.T) { vhdxfile.Both(t, sampleParent) }

func sampleParent(t *testing.T, s vhdxfile.Source) {
	dir, far, sumFATChild := t.TempDir(), t.TempDir(), s.MD5(t, "fat-differential.vhdx")
	child := s.Put(t, dir, "fat-differential.vhdx")
	raw := filepath.Join(dir, "out.raw")
	refuseVHDX(t, []string{"convert", "--to", "raw", child, raw}, "fat-parent.vhdx", "is not in the folder", "was not made", "--parent")
	refuseVHDX(t, []string{"map", child}, "is not in the folder", cli.NothingChanged)
	refuseVHDX(t, []string{"merge", child}, "is not in the folder", cli.NothingChanged)
	onlyFiles(t, dir, "fat-differential.vhdx")
	if p := fromJSON[[]vhdxcmd.Info](t, 0, "info", child)[0].Parent; p == nil || p.Status != "missing" || p.Name != "fat-parent.vhdx" || len(p.Locator) != 5 {
		t.Errorf("info: parent %+v, want it missing", p)
	}
	other := s.Put(t, far, "ntfs-dynamic.vhdx")
	refuseVHDX(t, []string{"convert", "--to", "raw", "--parent", other, child, raw}, "ntfs-dynamic.vhdx", "DataWriteGuid", "was not made")
	parent := filepath.Join(far, "renamed.vhdx")
	must(t, os.Rename(s.Put(t, far, "fat-parent.vhdx"), parent))
	if got := diskSum(t, "--parent", parent, child); got != sumFATChild {
		t.Errorf("with --parent: md5 %s, want %s", got, sumFATChild)
	}
	if got := diskSum(t, child, "--parent", other, "--parent", parent); got != sumFATChild {
		t.Errorf("with a parent too many: md5 %s, want %s", got, sumFATChild)
	}
	// The names of Windows know no case.
	copyFile(t, parent, filepath.Join(dir, "FAT-Parent.VHDX"))
	if got := diskSum(t, child); got != sumFATChild {
		t.Errorf("with the parent in other letters: md5 %s, want %s", got, sumFATChild)
	}
	wantVHDX(t, 0, "check", child)
	// A file of the right name that is not the parent.
	copyFile(t, other, filepath.Join(dir, "FAT-Parent.VHDX"))
	refuseVHDX(t, []string{"convert", "--to", "raw", child, raw}, "FAT-Parent.VHDX", "DataWriteGuid")
	if out := wantVHDX(t, exitCheck, "check", child); !strings.Contains(out, child+": error: parent locator at offset 0x200000: ") {
		t.Errorf("check does not see a wrong parent: %s", out)
	}
}

func TestVHDXSampleMerge(t *testing.T) { vhdxfile.Both(t, sampleMerge) }

func sampleMerge(t *testing.T, s vhdxfile.Source) {
	dir, sumFATChild := t.TempDir(), s.MD5(t, "fat-differential.vhdx")
	child, parent := s.Put(t, dir, "fat-differential.vhdx"), s.Put(t, dir, "fat-parent.vhdx")
	sibling := copyFile(t, child, filepath.Join(dir, "sibling.vhdx"))
	res := fromJSON[vhdxcmd.Merged](t, 0, "merge", child)
	if res.Child != child || res.Parent != parent || len(res.Invalid) != 1 || res.Invalid[0] != sibling || len(res.Children) != 0 {
		t.Errorf("merge = %+v, want %s to be invalid", res, sibling)
	}
	for _, path := range []string{parent, child} {
		if got := diskSum(t, path); got != sumFATChild {
			t.Errorf("after the merge %s has md5 %s, want %s", path, got, sumFATChild)
		}
	}
	tool(t, "", "qemu-img", "check", "-q", parent)
	if got := sum(tool(t, dir, "7zz", "x", "-so", "-tvhdx", parent)); got != sumFATChild {
		t.Errorf("7zz reads md5 %s from the merged parent, want %s", got, sumFATChild)
	}
	refuseVHDX(t, []string{"map", sibling}, "DataWriteGuid")
	wantVHDX(t, 0, "check", parent, child)
	refuseVHDX(t, []string{"merge", parent}, "it has no parent", cli.NothingChanged)
}
