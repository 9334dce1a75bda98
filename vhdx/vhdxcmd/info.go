package vhdxcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"troy/internal/cli"
	"troy/internal/guid"
	"troy/internal/progress"
	"troy/vhdx"
)

// Info is one element of the array that "info --json" prints, in the order of the arguments; a file
// that cannot be read is left out.
type Info struct {
	File               string    `json:"file"`
	FileSize           int64     `json:"file_size"`
	Kind               string    `json:"kind"` // fixed, dynamic, differencing
	Creator            string    `json:"creator"`
	VirtualDiskSize    int64     `json:"virtual_disk_size"`
	BlockSize          uint32    `json:"block_size"`
	LogicalSectorSize  uint32    `json:"logical_sector_size"`
	PhysicalSectorSize uint32    `json:"physical_sector_size"`
	VirtualDiskID      guid.GUID `json:"virtual_disk_id"`
	FileWriteGUID      guid.GUID `json:"file_write_guid"`
	DataWriteGUID      guid.GUID `json:"data_write_guid"`
	SequenceNumber     uint64    `json:"sequence_number"`
	LogPending         bool      `json:"log_pending"` // not closed cleanly: all here is as after replay, which happened in memory
	LogOffset          uint64    `json:"log_offset"`
	LogLength          uint32    `json:"log_length"`
	Blocks             Blocks    `json:"blocks"`
	Parent             *Parent   `json:"parent,omitempty"` // of differencing disks
}

// Blocks counts payload blocks by state.
type Blocks struct {
	Total            int64 `json:"total"`
	NotPresent       int64 `json:"not_present"`
	Undefined        int64 `json:"undefined"`
	Zero             int64 `json:"zero"`
	Unmapped         int64 `json:"unmapped"`
	FullyPresent     int64 `json:"fully_present"`
	PartiallyPresent int64 `json:"partially_present"`
	Invalid          int64 `json:"invalid"` // reserved states
}

// Parent tells what a differencing disk says of its parent, and what is found under that name in
// its own folder.
type Parent struct {
	Name     string       `json:"name"`     // without folder: that of File, else the first one of the locator
	Linkage  guid.GUID    `json:"linkage"`  // DataWriteGuid that the parent must have
	Linkage2 guid.GUID    `json:"linkage2"` // a second one that is accepted; zero: none
	Locator  []LocatorKey `json:"locator"`  // in file order
	Status   string       `json:"status"`   // fits, mismatch, missing, unreadable
	File     string       `json:"file"`     // "" if missing
}

// LocatorKey is one entry of a parent locator.
type LocatorKey struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type info struct{ *base }

func newInfo(b *base) *Command {
	v := &info{b}
	return b.command("info", "FILE…", "show details of files", 1, -1, v.run)
}

func (v *info) run(ctx context.Context, args []string) error {
	list, failed := []*Info{}, error(nil)
	for _, path := range args {
		info, err := readInfo(ctx, path)
		if err != nil {
			failed = v.also(failed, err)
			continue
		}
		list = append(list, info)
		if !v.json {
			info.print(v.Out)
		}
	}
	if v.json {
		if err := v.JSON(list); err != nil {
			return err
		}
	}
	return v.explain(failed, cli.NothingChanged)
}

// also keeps the first error of several files for the exit and shows the one before, each in its
// own line.
func (v *base) also(last, err error) error {
	if last != nil {
		fmt.Fprintf(v.Err, "%s: %v\n", v.Name, v.explain(last, cli.NothingChanged))
	}
	return err
}

func readInfo(ctx context.Context, path string) (*Info, error) {
	f, err := vhdx.Open(path, nil)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	h, m := f.Header(), f.Metadata()
	info := &Info{
		File: path, FileSize: st.Size(), Kind: m.Kind().String(), Creator: f.Creator(),
		VirtualDiskSize: m.VirtualDiskSize, BlockSize: m.BlockSize, VirtualDiskID: m.VirtualDiskID,
		LogicalSectorSize: m.LogicalSectorSize, PhysicalSectorSize: m.PhysicalSectorSize,
		FileWriteGUID: h.FileWriteGUID, DataWriteGUID: h.DataWriteGUID, SequenceNumber: h.SequenceNumber,
		LogPending: f.LogPending(), LogOffset: h.LogOffset, LogLength: h.LogLength,
	}
	if info.Blocks, err = countBlocks(ctx, f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if m.HasParent {
		info.Parent = parentInfo(f)
	}
	return info, nil
}

func countBlocks(ctx context.Context, f *vhdx.File) (Blocks, error) {
	g := f.Geometry()
	n := Blocks{Total: g.Blocks()}
	by := [8]*int64{&n.NotPresent, &n.Undefined, &n.Zero, &n.Unmapped, &n.Invalid, &n.Invalid, &n.FullyPresent, &n.PartiallyPresent}
	for b := range n.Total {
		if b%(1<<16) == 0 && ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		e, err := f.BATEntry(g.PayloadIndex(b))
		if err != nil {
			return n, err
		}
		*by[e.State()]++
	}
	return n, nil
}

// parentInfo looks for the parent in the child's folder. Its absence is no error here.
func parentInfo(child *vhdx.File) *Parent {
	p := &Parent{Name: child.ParentName(), Locator: []LocatorKey{}}
	if loc := child.Metadata().ParentLocator; loc != nil {
		for _, e := range loc.Entries {
			p.Locator = append(p.Locator, LocatorKey{e.Key, e.Value})
		}
		// What cannot be read stays zero; its text is among the entries.
		p.Linkage, _ = loc.Linkage()
		p.Linkage2, _ = loc.Linkage2()
	}
	parent, err := new(vhdx.Parents).Find(child)
	if err == nil {
		p.Status, p.File = "fits", parent.Path()
		if name := filepath.Base(p.File); !strings.EqualFold(name, p.Name) {
			p.Name = name // the first one is stale
		}
		parent.Close() // opened for reading only: nothing can be lost
		return p
	}
	var at *vhdx.ParentError
	if errors.As(err, &at) {
		p.File, p.Name = at.Path, at.Name
	}
	switch {
	case at != nil && at.Path == "":
		p.Status = "missing"
	case errors.Is(err, vhdx.ErrChainMismatch):
		p.Status = "mismatch"
	default:
		p.Status = "unreadable"
	}
	return p
}

// print writes the text form.
func (i *Info) print(w io.Writer) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-16s %s\n", name+":", cli.Clean(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(w, "%s\n", cli.Clean(i.File))
	row("kind", "%s, made by %q", i.Kind, i.Creator)
	row("virtual disk", "%d bytes (%s), sectors of %d bytes, physical %d", i.VirtualDiskSize, progress.Bytes(i.VirtualDiskSize), i.LogicalSectorSize, i.PhysicalSectorSize)
	row("file", "%d bytes (%s)", i.FileSize, progress.Bytes(i.FileSize))
	row("blocks", "%d of %d bytes: %s", i.Blocks.Total, i.BlockSize, i.Blocks)
	row("VirtualDiskId", "%v", i.VirtualDiskID)
	row("FileWriteGuid", "%v", i.FileWriteGUID)
	row("DataWriteGuid", "%v", i.DataWriteGUID)
	log := "empty"
	if i.LogPending {
		log = "pending: the file was not closed cleanly; replayed in memory for what stands here, the file is not touched"
	}
	row("log", "%s (%d bytes at %#x)", log, i.LogLength, i.LogOffset)
	if i.Parent == nil {
		return
	}
	row("parent", "%q: %s", i.Parent.Name, i.Parent.verdict())
	for _, e := range i.Parent.Locator {
		row("  locator", "%s = %s", e.Key, e.Value)
	}
}

// String lists the states that occur.
func (n Blocks) String() string {
	var s []string
	for _, x := range []struct {
		n    int64
		name string
	}{
		{n.FullyPresent, "fully present"}, {n.PartiallyPresent, "partially present"}, {n.Zero, "zero"},
		{n.Unmapped, "unmapped"}, {n.Undefined, "undefined"}, {n.NotPresent, "not present"}, {n.Invalid, "with invalid states"},
	} {
		if x.n > 0 {
			s = append(s, fmt.Sprintf("%d %s", x.n, x.name))
		}
	}
	return strings.Join(s, ", ")
}

func (p *Parent) verdict() string {
	switch p.Status {
	case "fits":
		return "found in the same folder, it fits"
	case "missing":
		return "not in the same folder"
	case "mismatch":
		return "the file of this name in the same folder is not the parent"
	}
	return "found in the same folder, but it cannot be read"
}
