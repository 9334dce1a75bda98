package main

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"strings"

	"troy/vhdx"
)

// vhdxCreate is what the flags of "vhdx create" say. Its JSON is one jsonInfo.
type vhdxCreate struct {
	*vhdxCall
	kind                       string
	parent                     string
	size, block                size
	logicalSector, physicalSec uint
	force                      bool
	options                    vhdx.CreateOptions
}

func runVHDXCreate(ctx context.Context, c *call) error {
	v := &vhdxCreate{vhdxCall: newVHDXCall(c)}
	v.fs.Var(&v.size, "size", "`bytes` of the virtual disk (default: the parent's)")
	v.fs.StringVar(&v.kind, "type", "", "fixed, dynamic or differencing (default: differencing with --parent, else dynamic)")
	v.fs.StringVar(&v.parent, "parent", "", "`file` that a differencing disk stands on")
	v.fs.Var(&v.block, "block-size", "`bytes` of a payload block, 1M to 256M (default: 32M, for fixed and differencing 2M)")
	v.fs.UintVar(&v.logicalSector, "logical-sector-size", 0, "512 or 4096 (default: the parent's, else 512)")
	v.fs.UintVar(&v.physicalSec, "physical-sector-size", 0, "512 or 4096 (default: the parent's, else 4096)")
	v.fs.BoolVar(&v.force, "force", false, "replace FILE")
	args, err := v.parse(v.fs, 1, 1)
	if err != nil {
		return err
	}
	if err := v.check(); err != nil {
		return err
	}
	t, err := newTarget(args[0], v.force)
	if err != nil {
		return explain(err, nothingChanged)
	}
	if err := v.create(t); err != nil {
		return explain(err, t.fate())
	}
	return v.showCreated(ctx, t.path)
}

// check turns the flags into options.
func (v *vhdxCreate) check() error {
	o := &v.options
	switch {
	case v.kind == "differencing", v.kind == "" && v.parent != "":
		o.Kind = vhdx.Differencing
	case v.kind == "fixed":
		o.Kind = vhdx.Fixed
	case v.kind != "dynamic" && v.kind != "":
		return &usageError{fmt.Sprintf("--type %q: want fixed, dynamic or differencing", v.kind)}
	}
	switch {
	case o.Kind == vhdx.Differencing && v.parent == "":
		return &usageError{"a differencing disk needs --parent"}
	case o.Kind != vhdx.Differencing && v.parent != "":
		return &usageError{fmt.Sprintf("a %v disk has no parent", o.Kind)}
	case v.parent == "" && v.size == 0:
		return &usageError{"--size is missing"}
	case v.block > 256<<20 || v.block&(v.block-1) != 0 || v.block != 0 && v.block < 1<<20:
		return &usageError{fmt.Sprintf("--block-size %d: want a power of two from 1M to 256M", v.block)}
	}
	for name, n := range map[string]uint{"logical": v.logicalSector, "physical": v.physicalSec} {
		if n != 0 && n != 512 && n != 4096 {
			return &usageError{fmt.Sprintf("--%s-sector-size %d: want 512 or 4096", name, n)}
		}
	}
	sector := max(int64(v.logicalSector), 512)
	if int64(v.size)%sector != 0 || v.size > 64<<40 {
		return &usageError{fmt.Sprintf("--size %d: want a multiple of %d, the sector size, up to 64T", v.size, sector)}
	}
	o.Size, o.BlockSize, o.Overwrite = int64(v.size), uint32(min(v.block, math.MaxUint32)), v.force
	o.LogicalSectorSize, o.PhysicalSectorSize = uint32(v.logicalSector), uint32(v.physicalSec)
	return nil
}

func (v *vhdxCreate) create(t *target) error {
	if v.parent != "" {
		parents := &vhdx.Parents{}
		parent, err := v.openParent(parents, t.path)
		if err != nil {
			return err
		}
		defer parent.Close()
		if err := t.isOneOf(append(parents.Found(), v.parent)...); err != nil {
			return err
		}
	}
	f, err := vhdx.Create(t.path, &v.options)
	if err != nil {
		return err
	}
	return f.Close()
}

// openParent opens the parent, its own parents as well where they are at hand, and names it in the options.
func (v *vhdxCreate) openParent(parents *vhdx.Parents, child string) (interface{ Close() error }, error) {
	leaf, err := vhdx.Open(v.parent, nil)
	if err != nil {
		return nil, err
	}
	v.options.Parent = leaf
	v.options.ParentPath = relativeTo(child, v.parent)
	if runtime.GOOS == "windows" {
		if v.options.ParentAbsolutePath, err = filepath.Abs(v.parent); err != nil {
			return leaf, err
		}
	}
	chain, err := vhdx.ResolveChain(leaf, parents.Find)
	if err != nil {
		v.note("the chain of %s is not complete: %v", v.parent, err)
		return leaf, nil
	}
	return chain, nil
}

// relativeTo returns the path of parent as the locator of a child has it, in Windows' notation. Across volumes there
// is none but the name.
func relativeTo(child, parent string) string {
	name := `.\` + filepath.Base(parent)
	from, err := filepath.Abs(filepath.Dir(child))
	if err != nil {
		return name
	}
	to, err := filepath.Abs(parent)
	if err != nil {
		return name
	}
	rel, err := filepath.Rel(from, to)
	if err != nil {
		return name
	}
	rel = strings.ReplaceAll(filepath.ToSlash(rel), "/", `\`)
	if strings.HasPrefix(rel, `..\`) {
		return rel
	}
	return `.\` + rel
}

func (v *vhdxCreate) showCreated(ctx context.Context, path string) error {
	info, err := readInfo(ctx, path)
	if err != nil {
		return explain(err, path+" was made")
	}
	if p := info.Parent; p != nil && p.Status == "missing" {
		v.note("%s is not in the folder of %s: commands need it named with --parent", v.parent, path)
	}
	if v.json {
		return v.printJSON(info)
	}
	info.print(v.stdout)
	return nil
}
