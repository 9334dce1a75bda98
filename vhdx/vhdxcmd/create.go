package vhdxcmd

import (
	"context"
	"math"
	"path/filepath"
	"runtime"
	"strings"

	"troy/internal/cli"
	"troy/vhdx"
)

// create is what the flags of "create" say. Its JSON is one Info.
type create struct {
	*base
	kind                       string
	parent                     string
	size, block                cli.Size
	logicalSector, physicalSec uint
	force                      bool
	options                    vhdx.CreateOptions
}

func newCreate(b *base) *Command {
	v := &create{base: b}
	c := b.command("create", "FILE", "create an empty disk", 1, 1, v.run)
	c.Flags.Var(&v.size, "size", "`size` of the virtual disk, such as 64G (default: the parent's)")
	c.Flags.StringVar(&v.kind, "type", "", "`type` of the disk: fixed, dynamic or differencing (default: differencing with --parent, else dynamic)")
	c.Flags.StringVar(&v.parent, "parent", "", "parent `file` of a differencing disk")
	c.Flags.Var(&v.block, "block-size", "`size` of a payload block, 1M to 256M (default: 32M, for fixed and differencing 2M)")
	c.Flags.UintVar(&v.logicalSector, "logical-sector-size", 0, "`bytes`: 512 or 4096 (default: the parent's, else 512)")
	c.Flags.UintVar(&v.physicalSec, "physical-sector-size", 0, "`bytes`: 512 or 4096 (default: the parent's, else 4096)")
	c.Flags.BoolVar(&v.force, "force", false, "replace FILE")
	return c
}

func (v *create) run(ctx context.Context, args []string) error {
	if err := v.check(); err != nil {
		return err
	}
	t, err := cli.NewTarget(args[0], v.force)
	if err != nil {
		return v.explain(err, cli.NothingChanged)
	}
	if err := v.make(t); err != nil {
		return v.explain(err, t.Fate())
	}
	return v.showCreated(ctx, t.Path)
}

// check turns the flags into options.
func (v *create) check() error {
	o := &v.options
	switch {
	case v.kind == "differencing", v.kind == "" && v.parent != "":
		o.Kind = vhdx.Differencing
	case v.kind == "fixed":
		o.Kind = vhdx.Fixed
	case v.kind != "dynamic" && v.kind != "":
		return cli.Usagef("--type %q: want fixed, dynamic or differencing", v.kind)
	}
	switch {
	case o.Kind == vhdx.Differencing && v.parent == "":
		return cli.Usagef("a differencing disk needs --parent")
	case o.Kind != vhdx.Differencing && v.parent != "":
		return cli.Usagef("a %v disk has no parent", o.Kind)
	case v.parent == "" && v.size == 0:
		return cli.Usagef("--size is missing")
	case v.block > 256<<20 || v.block&(v.block-1) != 0 || v.block != 0 && v.block < 1<<20:
		return cli.Usagef("--block-size %d: want a power of two from 1M to 256M", v.block)
	}
	for name, n := range map[string]uint{"logical": v.logicalSector, "physical": v.physicalSec} {
		if n != 0 && n != 512 && n != 4096 {
			return cli.Usagef("--%s-sector-size %d: want 512 or 4096", name, n)
		}
	}
	sector := max(int64(v.logicalSector), 512)
	if int64(v.size)%sector != 0 || v.size > 64<<40 {
		return cli.Usagef("--size %d: want a multiple of %d, the sector size, up to 64T", v.size, sector)
	}
	o.Size, o.BlockSize, o.Overwrite = int64(v.size), uint32(min(v.block, math.MaxUint32)), v.force
	o.LogicalSectorSize, o.PhysicalSectorSize = uint32(v.logicalSector), uint32(v.physicalSec)
	return nil
}

func (v *create) make(t *cli.Target) error {
	if v.parent != "" {
		parents := &vhdx.Parents{}
		parent, err := v.openParent(parents, t.Path)
		if err != nil {
			return err
		}
		defer parent.Close()
		if err := t.NotOneOf(append(parents.Found(), v.parent)...); err != nil {
			return err
		}
	}
	f, err := vhdx.Create(t.Path, &v.options)
	if err != nil {
		return err
	}
	return f.Close()
}

// openParent opens the parent, its own parents as well where they are at hand, and names it in the
// options.
func (v *create) openParent(parents *vhdx.Parents, child string) (interface{ Close() error }, error) {
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
		v.Note("the chain of %s is not complete: %v", v.parent, err)
		return leaf, nil
	}
	return chain, nil
}

// relativeTo returns the path of parent as the locator of a child has it, in Windows' notation.
// Across volumes there is none but the name.
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

func (v *create) showCreated(ctx context.Context, path string) error {
	info, err := readInfo(ctx, path)
	if err != nil {
		return v.explain(err, path+" was made")
	}
	if p := info.Parent; p != nil && p.Status == "missing" {
		v.Note("%s is not in the folder of %s: commands need it named with --parent", v.parent, path)
	}
	if v.json {
		return v.JSON(info)
	}
	info.print(v.Out)
	return nil
}
