package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"troy/internal/cli"
	"troy/vhdx"
	"troy/vhdx/vhdxcmd"
)

// TestVHDXConvert takes a random image there and back, with other programs looking on.
func TestVHDXConvert(t *testing.T) {
	r, dir := seeded(t), t.TempDir()
	raw := filepath.Join(dir, "disk.img")
	model := randomRaw(t, r, raw, 70<<20+1024)
	for _, to := range []string{"dynamic", "fixed"} {
		path := filepath.Join(dir, to+".vhdx")
		res := fromJSON[vhdxcmd.Converted](t, 0, "convert", "--to", to, raw, path)
		if res.SourceFormat != "raw" || res.To != to || res.VirtualDiskSize != int64(len(model)) {
			t.Errorf("convert --to %s = %+v", to, res)
		}
		tool(t, "", "qemu-img", "check", "-q", path)
		tool(t, "", "qemu-img", "compare", "-f", "vhdx", "-F", "raw", path, raw)
		if !bytes.Equal(tool(t, dir, "7zz", "x", "-so", "-tvhdx", path), model) {
			t.Errorf("7zz reads other bytes from the %s disk", to)
		}
		wantVHDX(t, 0, "check", path)
		if got := diskSum(t, path); got != sum(model) {
			t.Errorf("back from %s: md5 %s, want %s", to, got, sum(model))
		}
		if kind := fromJSON[[]vhdxcmd.Info](t, 0, "info", path)[0].Kind; kind != to {
			t.Errorf("info says %s, want %s", kind, to)
		}
	}
	made := filepath.Join(dir, "qemu.vhdx")
	tool(t, "", "qemu-img", "convert", "-f", "raw", "-O", "vhdx", raw, made)
	if got := diskSum(t, made); got != sum(model) {
		t.Errorf("QEMU's VHDX: md5 %s, want %s", got, sum(model))
	}
	if got := diskSum(t, raw); got != sum(model) {
		t.Errorf("raw to raw: md5 %s, want %s", got, sum(model))
	}
}

// threeFiles makes base, mid and leaf in dir and returns what mid and leaf show.
func threeFiles(t *testing.T, dir, parentType string) (paths [3]string, mid, leaf []byte) {
	t.Helper()
	r := seeded(t)
	for i, n := range []string{"base.vhdx", "mid.vhdx", "leaf.vhdx"} {
		paths[i] = filepath.Join(dir, n)
	}
	raw := filepath.Join(t.TempDir(), "disk.img")
	model := randomRaw(t, r, raw, 24<<20)
	wantVHDX(t, 0, "convert", "--to", parentType, raw, paths[0])
	wantVHDX(t, 0, "create", "--parent", paths[0], "--block-size", "1M", paths[1])
	scribbleChild(t, r, paths[1], model, 10, paths[0])
	mid = bytes.Clone(model)
	wantVHDX(t, 0, "create", "--type", "differencing", "--parent", paths[1], paths[2])
	scribbleChild(t, r, paths[2], model, 10, paths[1], paths[0])
	return paths, mid, model
}

func TestVHDXChain(t *testing.T) {
	dir := t.TempDir()
	p, mid, leaf := threeFiles(t, dir, "dynamic")
	for path, want := range map[string][]byte{p[1]: mid, p[2]: leaf} {
		if got := diskSum(t, path); got != sum(want) {
			t.Errorf("%s: md5 %s, want %s", path, got, sum(want))
		}
		if !bytes.Equal(tool(t, dir, "7zz", "x", "-so", "-tvhdx", path), want) {
			t.Errorf("7zz reads other bytes from %s", path)
		}
	}
	wantVHDX(t, 0, "check", p[0], p[1], p[2])
	// mid in its own folder, with the base beside it; then all apart, in any order.
	far, farther := t.TempDir(), t.TempDir()
	leafFar := copyFile(t, p[2], filepath.Join(far, "l.vhdx"))
	if got := diskSum(t, "--parent", p[1], leafFar); got != sum(leaf) {
		t.Errorf("mid named, base beside mid: md5 %s, want %s", got, sum(leaf))
	}
	baseFar := filepath.Join(farther, "b.vhdx")
	must(t, os.Rename(p[0], baseFar))
	refuseVHDX(t, []string{"map", p[2]}, `"base.vhdx"`, "is not in the folder")
	for _, args := range [][]string{{"--parent", p[1], "--parent", baseFar, leafFar}, {"--parent", baseFar, p[2]}} {
		if got := diskSum(t, args...); got != sum(leaf) {
			t.Errorf("%q: md5 %s, want %s", args, got, sum(leaf))
		}
	}
}

func TestVHDXMap(t *testing.T) {
	p, _, leaf := threeFiles(t, t.TempDir(), "dynamic")
	seen, at := map[string]bool{}, int64(0)
	list := fromJSON[[]vhdxcmd.Extent](t, 0, "map", p[2])
	for _, e := range list {
		if e.Offset != at || e.Length <= 0 {
			t.Fatalf("extent %+v, want it to start at %d", e, at)
		}
		at += e.Length
		want := make([]byte, e.Length)
		if e.Kind == "data" {
			if want2 := []string{p[2], p[1], p[0]}[e.Layer]; e.File != want2 || e.FileOffset == nil {
				t.Fatalf("extent %+v is not in %s", e, want2)
			}
			f, err := os.Open(e.File)
			must(t, err)
			_, err = f.ReadAt(want, *e.FileOffset)
			must(t, err)
			f.Close()
		}
		if !bytes.Equal(leaf[e.Offset:at], want) {
			t.Errorf("extent %+v is not what the disk shows there", e)
		}
		seen[e.Kind+e.File] = true
	}
	if at != int64(len(leaf)) {
		t.Errorf("the extents end at %d, want %d", at, len(leaf))
	}
	for _, k := range []string{"data" + p[0], "data" + p[1], "data" + p[2]} {
		if !seen[k] {
			t.Errorf("no extent is %s", k)
		}
	}
	if text := strings.Split(wantVHDX(t, 0, "map", p[2]), "\n"); len(text) != len(list)+2 {
		t.Errorf("map prints %d lines, want a heading and %d extents", len(text)-1, len(list))
	}
}

// TestVHDXMergeMiddle merges the middle of three: the base takes it, the leaf needs it or a relink.
func TestVHDXMergeMiddle(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("keep-identity=%v", keep), func(t *testing.T) {
			p, mid, leaf := threeFiles(t, t.TempDir(), "fixed")
			res := fromJSON[vhdxcmd.Merged](t, 0, "merge", "--keep-identity="+strconv.FormatBool(keep), p[1])
			if res.Parent != p[0] || len(res.Children) != 1 || res.Children[0] != p[2] || len(res.Invalid) != 0 {
				t.Errorf("merge = %+v, want the child %s named", res, p[2])
			}
			if got := diskSum(t, p[0]); got != sum(mid) {
				t.Errorf("base: md5 %s, want %s", got, sum(mid))
			}
			wantVHDX(t, 0, "check", p[0])
			tool(t, "", "qemu-img", "check", "-q", p[0])
			if keep {
				must(t, os.Remove(p[1]))
				wantVHDX(t, 0, "relink", "--parent", p[0], p[2])
				wantVHDX(t, 0, "check", p[2])
			}
			if got := diskSum(t, p[2]); got != sum(leaf) {
				t.Errorf("leaf: md5 %s, want %s", got, sum(leaf))
			}
		})
	}
}

// TestVHDXMergeLeaf merges the leaf of three: only its direct parent changes.
func TestVHDXMergeLeaf(t *testing.T) {
	p, _, leaf := threeFiles(t, t.TempDir(), "dynamic")
	before := fileSum(t, p[0])
	out := wantVHDX(t, 0, "merge", p[2])
	if !strings.Contains(out, "is not needed any more") {
		t.Errorf("merge said %q", out)
	}
	if fileSum(t, p[0]) != before {
		t.Error("the base was changed")
	}
	must(t, os.Remove(p[2]))
	if got := diskSum(t, p[1]); got != sum(leaf) {
		t.Errorf("mid: md5 %s, want %s", got, sum(leaf))
	}
	wantVHDX(t, 0, "check", p[1])
	if got := sum(tool(t, filepath.Dir(p[1]), "7zz", "x", "-so", "-tvhdx", p[1])); got != sum(leaf) {
		t.Errorf("7zz reads md5 %s from mid, want %s", got, sum(leaf))
	}
}

// TestVHDXMergeRefused has merges that must not begin.
func TestVHDXMergeRefused(t *testing.T) {
	p, _, _ := threeFiles(t, t.TempDir(), "dynamic")
	// A BAT entry of mid that leads nowhere.
	f, err := vhdx.Open(p[1], nil)
	must(t, err)
	bat, _ := f.Regions().Find(vhdx.RegionBAT)
	must(t, f.Close())
	patch(t, p[1], bat.Offset, []byte{6, 0, 0, 0, 0, 0xff, 0, 0})
	sums := [3]string{fileSum(t, p[0]), fileSum(t, p[1]), fileSum(t, p[2])}
	refuseVHDX(t, []string{"merge", p[1]}, "BAT at offset", cli.NothingChanged, "troy vhdx check")
	refuseVHDX(t, []string{"merge", p[2]}, "BAT at offset", cli.NothingChanged)
	refuseVHDX(t, []string{"merge", "--parent", p[0], "--parent", filepath.Join(t.TempDir(), "none.vhdx"), p[2]}, "none.vhdx", cli.NothingChanged)
	for i := range p {
		if fileSum(t, p[i]) != sums[i] {
			t.Errorf("%s was changed by a refused merge", p[i])
		}
	}
}

// TestVHDXMergeCircle: a disk is not merged into a parent that stands on it, at any distance.
func TestVHDXMergeCircle(t *testing.T) {
	for from := range 3 { // the file whose parent the leaf becomes
		t.Run(fmt.Sprintf("circle of %d", 3-from), func(t *testing.T) {
			p, _, _ := threeFiles(t, t.TempDir(), "dynamic")
			if from == 0 { // base has no locator: a disk over base takes its place
				base := filepath.Join(filepath.Dir(p[0]), "first.vhdx")
				must(t, os.Rename(p[0], base))
				wantVHDX(t, 0, "create", "--parent", base, p[0])
				wantVHDX(t, 0, "relink", "--ignore-mismatch", "--parent", p[0], p[1])
				wantVHDX(t, 0, "relink", "--ignore-mismatch", "--parent", p[1], p[2])
			}
			leaf, err := vhdx.Open(p[2], nil)
			must(t, err)
			identity := leaf.Header().DataWriteGUID
			must(t, leaf.Close())
			f, err := vhdx.Open(p[from], &vhdx.OpenOptions{Writable: true})
			must(t, err)
			must(t, vhdx.Relink(f, &vhdx.RelinkOptions{Linkage2: identity, RelativePath: `.\leaf.vhdx`}))
			must(t, f.Close())
			sums := [3]string{fileSum(t, p[0]), fileSum(t, p[1]), fileSum(t, p[2])}
			refuseVHDX(t, []string{"merge", p[2]}, "leaf.vhdx", cli.NothingChanged)
			for i := range p {
				if fileSum(t, p[i]) != sums[i] {
					t.Errorf("%s was changed by a refused merge", p[i])
				}
			}
		})
	}
}

// TestVHDXStaleName: a name that leads nowhere does not hide another one that is right.
func TestVHDXStaleName(t *testing.T) {
	p, _, leaf := threeFiles(t, t.TempDir(), "dynamic")
	wantVHDX(t, 0, "relink", "--path", `.\gone.vhdx`, "--absolute-path", `C:\d\mid.vhdx`, p[2])
	if got := diskSum(t, p[2]); got != sum(leaf) {
		t.Errorf("md5 %s, want %s", got, sum(leaf))
	}
	if parent := fromJSON[[]vhdxcmd.Info](t, 0, "info", p[2])[0].Parent; parent.Status != "fits" || parent.File != p[1] || parent.Name != "mid.vhdx" {
		t.Errorf("info says %+v", parent)
	}
}

// patch overwrites bytes of a file.
func patch(t *testing.T, path string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(b, off)
	must(t, err)
	must(t, f.Close())
}

func TestVHDXRelink(t *testing.T) {
	dir := t.TempDir()
	p, _, leaf := threeFiles(t, dir, "dynamic")
	stand := filepath.Join(dir, "moved")
	must(t, os.Mkdir(stand, 0o755))
	moved := filepath.Join(stand, "new.vhdx")
	must(t, os.Rename(p[1], moved))
	wantVHDX(t, 0, "relink", "--parent", p[0], moved)
	res := fromJSON[vhdxcmd.Relinked](t, 0, "relink", "--parent", moved, p[2])
	want := vhdxcmd.Change{Key: vhdx.KeyRelativePath, Old: `.\mid.vhdx`, New: `.\moved\new.vhdx`}
	if len(res.Changes) != 1 || res.Changes[0] != want {
		t.Errorf("relink changed %+v, want %+v", res.Changes, want)
	}
	if got := diskSum(t, "--parent", moved, "--parent", p[0], p[2]); got != sum(leaf) {
		t.Errorf("after relink: md5 %s, want %s", got, sum(leaf))
	}
	if out := wantVHDX(t, 0, "relink", "--path", `..\x\other.vhdx`, "--absolute-path", `C:\x\other.vhdx`, p[2]); !strings.Contains(out, `is '..\x\other.vhdx'`) {
		t.Errorf("relink said %q", out)
	}
	if out := wantVHDX(t, 0, "relink", "--path", `..\x\other.vhdx`, p[2]); !strings.Contains(out, "already") {
		t.Errorf("relink said %q", out)
	}
	before := fileSum(t, p[2])
	refuseVHDX(t, []string{"relink", "--parent", p[0], p[2]}, "DataWriteGuid", cli.NothingChanged, "--ignore-mismatch")
	refuseVHDX(t, []string{"relink", "--parent", p[2], "--ignore-mismatch", p[2]}, "cannot be its parent")
	refuseVHDX(t, []string{"relink", "--parent", p[2], "--ignore-mismatch", "--parent", p[0], p[0]}, "has no parent locator")
	if fileSum(t, p[2]) != before {
		t.Error("a refused relink changed the file")
	}
	id := fromJSON[[]vhdxcmd.Info](t, 0, "info", p[2])[0].DataWriteGUID
	res = fromJSON[vhdxcmd.Relinked](t, 0, "relink", "--parent", p[0], "--ignore-mismatch", p[2])
	if res.DataWriteGUID == id {
		t.Error("another parent, but the child's DataWriteGuid is as it was")
	}
	if info := fromJSON[[]vhdxcmd.Info](t, 0, "info", p[2]); info[0].Parent.Status != "fits" || info[0].Parent.File != p[0] {
		t.Errorf("after --ignore-mismatch the parent is %+v", info[0].Parent)
	}
}

// TestVHDXRelinkCircle refuses to let two files stand on each other.
func TestVHDXRelinkCircle(t *testing.T) {
	p, _, _ := threeFiles(t, t.TempDir(), "dynamic")
	refuseVHDX(t, []string{"relink", "--parent", p[2], "--ignore-mismatch", p[1]}, "cannot be its parent", cli.NothingChanged)
}

// TestVHDXRelinkKeepsSecondLinkage has a child whose parent is known by parent_linkage2 alone, as
// after a merge.
func TestVHDXRelinkKeepsSecondLinkage(t *testing.T) {
	p, mid, _ := threeFiles(t, t.TempDir(), "dynamic")
	wantVHDX(t, 0, "merge", p[1])
	before := fromJSON[[]vhdxcmd.Info](t, 0, "info", p[1])[0].Parent
	if before.Linkage2.IsZero() || before.Status != "fits" {
		t.Fatalf("after a merge the child says %+v", before)
	}
	wantVHDX(t, 0, "relink", "--path", `.\base.vhdx`, p[1])
	if got := diskSum(t, p[1]); got != sum(mid) {
		t.Errorf("after relink --path: md5 %s, want %s", got, sum(mid))
	}
}
