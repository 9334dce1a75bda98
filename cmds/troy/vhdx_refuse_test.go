package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/vhdx"
	"troy/vhdx/vhdxcmd"
)

// smallDisk makes a disk of 8 MiB with content everywhere, and returns its path and content.
func smallDisk(t *testing.T, dir, kind string) (string, []byte) {
	t.Helper()
	r := seeded(t)
	model := make([]byte, 8<<20)
	r.Read(model)
	raw := filepath.Join(t.TempDir(), "disk.img")
	must(t, os.WriteFile(raw, model, 0o644))
	path := filepath.Join(dir, kind+".vhdx")
	wantVHDX(t, 0, "convert", "--to", kind, raw, path)
	return path, model
}

// TestVHDXCheckDamage damages copies of a file and looks for the lines, with a file that is not
// there in between.
func TestVHDXCheckDamage(t *testing.T) {
	dir := t.TempDir()
	good, _ := smallDisk(t, dir, "fixed")
	f, err := vhdx.Open(good, nil)
	must(t, err)
	bat, _ := f.Regions().Find(vhdx.RegionBAT)
	second, err := f.BATEntry(1)
	must(t, err)
	must(t, f.Close())
	var args []string
	cases := []struct {
		name, want string
		damage     func(path string)
	}{
		{"good", "ok, 4 blocks, 4 in the file", func(string) {}},
		{"overlap", fmt.Sprintf("error: BAT at offset %#x", bat.Offset+8), func(path string) {
			patch(t, path, bat.Offset, []byte{byte(second), byte(second >> 8), byte(second >> 16), byte(second >> 24)})
		}},
		{"state", fmt.Sprintf("error: BAT at offset %#x", bat.Offset), func(path string) { patch(t, path, bat.Offset, []byte{4}) }},
		{"header", "warning: header at offset 0x10000", func(path string) { patch(t, path, vhdx.Header1Offset+100, []byte{1}) }},
		{"headers", "error: header at offset", func(path string) {
			patch(t, path, vhdx.Header1Offset+100, []byte{1})
			patch(t, path, vhdx.Header2Offset+100, []byte{1})
		}},
		{"regions", "warning: region table at offset 0x30000", func(path string) { patch(t, path, vhdx.RegionTable1Offset+17, []byte{1}) }},
		{"short", "error: BAT at offset", func(path string) { must(t, os.Truncate(path, 6<<20)) }},
		{"empty", "error: file identifier at offset 0x0", func(path string) { must(t, os.Truncate(path, 0)) }},
	}
	for _, x := range cases {
		path := copyFile(t, good, filepath.Join(dir, x.name+".vhdx"))
		x.damage(path)
		args = append(args, path)
	}
	missing := filepath.Join(dir, "missing.vhdx")
	r := troyVHDX(append([]string{"check", missing}, args...)...)
	if r.code != exitCheck || !strings.Contains(r.errOut, "missing.vhdx") || strings.Count(r.errOut, "\n") != 1 {
		t.Errorf("check: exit code %d, want %d, with one line of what is missing; it said\n%s", r.code, exitCheck, r.errOut)
	}
	for i, x := range cases {
		if !strings.Contains(r.out, args[i]+": "+x.want) {
			t.Errorf("check does not say %q of %s:\n%s", x.want, args[i], r.out)
		}
		code := exitCheck
		if x.name == "good" {
			code = exitOK
		}
		list := fromJSON[[]vhdxcmd.Checked](t, code, "check", args[i])
		if len(list) != 1 || list[0].OK != (x.name == "good") || list[0].File != args[i] {
			t.Errorf("check --json %s = %+v", x.name, list)
		}
	}
	if r := troyVHDX("check", missing, good); r.code != exitFailed || !strings.Contains(r.out, good+": ok") {
		t.Errorf("check of a missing and a good file: exit code %d, want %d\n%s", r.code, exitFailed, r.out)
	}
	refuseVHDX(t, []string{"check", dir}, "folder")
	if r := troyVHDX("info", missing, good, missing); r.code != exitFailed || !strings.Contains(r.out, good) || strings.Count(r.errOut, "missing.vhdx") != 2 {
		t.Errorf("info of a missing and a good file: %+v", r)
	}
}

// TestVHDXUsage has command lines that make no sense.
func TestVHDXUsage(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out.vhdx")
	for _, line := range []string{
		"", "frobnicate", "info", "map", "map a b", "check", "create", "create --size 1G", "create --size 1X OUT", "create --size 0 OUT",
		"create --size -1 OUT", "create --size 9999999999T OUT", "create --size 65T OUT", "create --size 1000 OUT", "create OUT", "create --type round --size 1G OUT",
		"create --type differencing --size 1G OUT", "create --type fixed --parent a --size 1G OUT", "create --size 1G --block-size 3M OUT",
		"create --size 1G --block-size 512K OUT", "create --size 1G --block-size 512M OUT", "create --size 1G --logical-sector-size 520 OUT",
		"create --size 1536 --logical-sector-size 4096 OUT", "convert a OUT", "convert --to qcow2 a OUT", "convert --to raw a", "convert --to raw a b c",
		"merge", "merge a b", "relink a", "relink --ignore-mismatch a", "relink --path x", "info --colour a",
	} {
		args := strings.Fields(strings.ReplaceAll(line, "OUT", out))
		if r := troyVHDX(args...); r.code != exitUsage || !strings.Contains(r.errOut, "usage:") {
			t.Errorf("troy vhdx %s: exit code %d, want %d\n%s", line, r.code, exitUsage, r.errOut)
		}
	}
	onlyFiles(t, dir)
	for _, name := range []string{"info", "map", "check", "create", "convert", "merge", "relink"} {
		if out := wantVHDX(t, 0, name, "--help"); !strings.Contains(out, "-json") {
			t.Errorf("help of %s does not tell of --json:\n%s", name, out)
		}
	}
}

// TestVHDXCreate makes every kind, with and without the options.
func TestVHDXCreate(t *testing.T) {
	dir := t.TempDir()
	base := filepath.Join(dir, "base.vhdx")
	for _, x := range []struct {
		args string
		want vhdxcmd.Info
	}{
		{"--size 64G", vhdxcmd.Info{Kind: "dynamic", VirtualDiskSize: 64 << 30, BlockSize: 32 << 20, LogicalSectorSize: 512, PhysicalSectorSize: 4096}},
		{"--size 40m --type fixed", vhdxcmd.Info{Kind: "fixed", VirtualDiskSize: 40 << 20, BlockSize: 2 << 20, LogicalSectorSize: 512, PhysicalSectorSize: 4096}},
		{"--size 64T --block-size 256M", vhdxcmd.Info{Kind: "dynamic", VirtualDiskSize: 64 << 40, BlockSize: 256 << 20, LogicalSectorSize: 512, PhysicalSectorSize: 4096}},
		{"--size 8K --logical-sector-size 4096", vhdxcmd.Info{Kind: "dynamic", VirtualDiskSize: 8192, BlockSize: 32 << 20, LogicalSectorSize: 4096, PhysicalSectorSize: 4096}},
		{"--size 1073741824 --block-size 1M --physical-sector-size 512", vhdxcmd.Info{Kind: "dynamic", VirtualDiskSize: 1 << 30, BlockSize: 1 << 20, LogicalSectorSize: 512, PhysicalSectorSize: 512}},
		{"--parent " + base + " --size 2G", vhdxcmd.Info{Kind: "differencing", VirtualDiskSize: 2 << 30, BlockSize: 2 << 20, LogicalSectorSize: 512, PhysicalSectorSize: 512}},
		{"--parent " + base, vhdxcmd.Info{Kind: "differencing", VirtualDiskSize: 1 << 30, BlockSize: 2 << 20, LogicalSectorSize: 512, PhysicalSectorSize: 512}},
	} {
		path := filepath.Join(dir, "new.vhdx")
		if strings.Contains(x.args, "--physical") {
			path = base
		}
		got := fromJSON[vhdxcmd.Info](t, 0, append(strings.Fields("create "+x.args), "--force", path)...)
		have := vhdxcmd.Info{Kind: got.Kind, VirtualDiskSize: got.VirtualDiskSize, BlockSize: got.BlockSize, LogicalSectorSize: got.LogicalSectorSize, PhysicalSectorSize: got.PhysicalSectorSize}
		if have != x.want {
			t.Errorf("create %s = %+v, want %+v", x.args, have, x.want)
		}
		wantVHDX(t, 0, "check", path)
		if got.Kind != "differencing" && got.LogicalSectorSize == 512 {
			tool(t, "", "qemu-img", "check", "-q", path)
		}
		if got.Parent != nil && (got.Parent.Status != "fits" || got.Parent.Locator[1].Value != `.\base.vhdx`) {
			t.Errorf("create %s: parent %+v", x.args, got.Parent)
		}
	}
	onlyFiles(t, dir, "base.vhdx", "new.vhdx")
}

// TestVHDXForce tells what may be replaced, and by what.
func TestVHDXForce(t *testing.T) {
	dir := t.TempDir()
	p, _, leaf := threeFiles(t, dir, "dynamic")
	there := filepath.Join(dir, "there")
	must(t, os.WriteFile(there, []byte("mine"), 0o600))
	link := filepath.Join(dir, "link")
	must(t, os.Symlink(there, link))
	refuseVHDX(t, []string{"convert", "--to", "raw", p[2], there}, "exists", "no file was changed", "--force")
	refuseVHDX(t, []string{"create", "--size", "1G", there}, "exists", "no file was changed", "--force")
	refuseVHDX(t, []string{"convert", "--to", "raw", "--force", p[2], dir}, "no regular file")
	refuseVHDX(t, []string{"convert", "--to", "raw", "--force", p[2], link}, "no regular file")
	refuseVHDX(t, []string{"convert", "--to", "raw", p[2], filepath.Join(dir, "no", "where")}, "no such file")
	for _, path := range p {
		refuseVHDX(t, []string{"convert", "--to", "raw", "--force", p[2], path}, "while it is read", "is as it was")
	}
	for _, path := range p[:2] {
		refuseVHDX(t, []string{"create", "--parent", p[1], "--force", path}, "while it is read", "is as it was")
	}
	refuseVHDX(t, []string{"convert", "--to", "raw", "--force", filepath.Join(dir, "none"), there}, "no such file", "is as it was")
	if b, err := os.ReadFile(there); err != nil || string(b) != "mine" {
		t.Fatalf("a refused command left %.20q, %v", b, err)
	}
	wantVHDX(t, 0, "convert", "--to", "raw", "--force", p[2], there)
	if fileSum(t, there) != sum(leaf) {
		t.Error("--force did not replace the file")
	}
	onlyFiles(t, dir, "base.vhdx", "leaf.vhdx", "link", "mid.vhdx", "there")
}

// TestVHDXForeignSource converts disks of other programs, and refuses sources that are damaged or
// no disks.
func TestVHDXForeignSource(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out.vhdx")
	disk, model := smallDisk(t, dir, "dynamic")
	for _, format := range []string{"qcow2", "vpc -o force_size=on", "vpc -o subformat=fixed,force_size=on", "vmdk", "vdi"} {
		path := filepath.Join(dir, "source")
		tool(t, "", append(append([]string{"qemu-img", "convert", "-f", "vhdx", disk, "-O"}, strings.Fields(format)...), path)...)
		wantVHDX(t, 0, "convert", "--to", "dynamic", path, out)
		if got := diskSum(t, out); got != sum(model) {
			t.Errorf("%s: md5 %s, want %s", format, got, sum(model))
		}
		must(t, os.Remove(path))
		must(t, os.Remove(out))
	}
	patch(t, disk, 0, []byte("VHDXFILE"))
	refuseVHDX(t, []string{"convert", "--to", "raw", disk, out}, "file identifier at offset 0x0", "was not made")
	unnamed := filepath.Join(dir, "unnamed")
	must(t, os.Rename(disk, unnamed))
	refuseVHDX(t, []string{"convert", "--to", "raw", unnamed, out}, "file identifier at offset 0x0", "was not made")
	patch(t, unnamed, 0, []byte("vhdxfile"))
	if got := diskSum(t, unnamed); got != sum(model) {
		t.Errorf("a VHDX without the usual name: md5 %s, want %s", got, sum(model))
	}
	must(t, os.WriteFile(disk, nil, 0o644))
	refuseVHDX(t, []string{"convert", "--to", "raw", disk, out}, "is empty")
	refuseVHDX(t, []string{"convert", "--to", "raw", dir, out}, "folder")
	must(t, os.WriteFile(filepath.Join(dir, "plain"), bytes.Repeat([]byte("plain"), 512), 0o644))
	refuseVHDX(t, []string{"convert", "--to", "fixed", "--parent", unnamed, filepath.Join(dir, "plain"), out}, "raw image", "was not made")
	onlyFiles(t, dir, "dynamic.vhdx", "plain", "unnamed")
}

// TestVHDXHostileNames has a locator that would draw on the terminal.
func TestVHDXHostileNames(t *testing.T) {
	p, _, _ := threeFiles(t, t.TempDir(), "dynamic")
	wantVHDX(t, 0, "relink", "--path", ".\\\x1b[31mred\u202e\nfake: ok", p[1])
	for _, args := range [][]string{{"info", p[1]}, {"check", p[1]}, {"map", p[1]}, {"convert", "--to", "raw", p[1], p[1] + ".raw"}, {"merge", p[1]}} {
		r := troyVHDX(args...)
		if strings.ContainsAny(r.out+r.errOut, "\x1b\u202e") || strings.Contains(r.out+r.errOut, "\nfake") {
			t.Errorf("troy vhdx %s passes control characters on: %q", args[0], r.out+r.errOut)
		}
		if !strings.Contains(r.out+r.errOut, "red") {
			t.Errorf("troy vhdx %s does not name the parent: %q", args[0], r.out+r.errOut)
		}
	}
}
