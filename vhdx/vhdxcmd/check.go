package vhdxcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"troy/internal/cli"
	"troy/vhdx"
)

// Checked is one element of the array that "check --json" prints, one per argument, in order.
type Checked struct {
	File         string    `json:"file"`
	OK           bool      `json:"ok"`       // no finding above a note
	Findings     []Finding `json:"findings"` // never null
	More         int       `json:"more"`     // findings left out
	Blocks       int64     `json:"blocks"`   // payload blocks looked at
	BlocksInFile int64     `json:"blocks_in_file"`
	Error        string    `json:"error,omitempty"` // the file could not be read; nothing else counts then
}

// Finding is one thing that is wrong, or odd.
type Finding struct {
	Severity  string `json:"severity"`  // note, warning, error
	Structure string `json:"structure"` // in the words of MS-VHDX
	Offset    int64  `json:"offset"`    // of the file
	Text      string `json:"text"`
}

type check struct {
	*base
	parents cli.List
}

func newCheck(b *base) *Command {
	v := &check{base: b}
	c := b.command("check", "FILE…", "check files for damage", 1, -1, v.run)
	c.Flags.Var(&v.parents, "parent", "a `file` that is the parent of one to be checked (default: the name in the child, in its own folder)")
	return c
}

func (v *check) run(ctx context.Context, args []string) error {
	list, bad, failed := []*Checked{}, 0, error(nil)
	for _, path := range args {
		if ctx.Err() != nil {
			return v.explain(context.Cause(ctx), cli.NothingChanged)
		}
		res, err := checkOne(path, &vhdx.Parents{Named: v.parents})
		if err != nil {
			failed = v.also(failed, err)
			res = &Checked{File: path, Error: err.Error(), Findings: []Finding{}}
		} else if !res.OK {
			bad++
		}
		list = append(list, res)
		if !v.json && err == nil {
			res.Print(v.Out)
		}
	}
	if v.json {
		if err := v.JSON(list); err != nil {
			return err
		}
	}
	return checkVerdict(v.explain(failed, cli.NothingChanged), bad, len(args))
}

// checkVerdict makes the error of the whole run: damage that was found counts more than a file that
// is not there.
func checkVerdict(failed error, bad, total int) error {
	if bad == 0 {
		return failed
	}
	err := fmt.Errorf("%w: %d of %d files have something wrong; %s", cli.ErrCheck, bad, total, cli.NothingChanged)
	if failed != nil {
		err = fmt.Errorf("%w; also: %w", err, failed)
	}
	return err
}

// checkOne checks one file. The error is of a file that cannot be read at all.
func checkOne(path string, parents *vhdx.Parents) (*Checked, error) {
	h, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if st, err := h.Stat(); err == nil && st.IsDir() {
		return nil, fmt.Errorf("%s is a folder", path)
	}
	size, err := h.Seek(0, io.SeekEnd) // also right for block devices
	if err != nil {
		return nil, err
	}
	parent, missing := parentToCheck(path, parents)
	if parent != nil {
		defer parent.Close()
	}
	rep, err := vhdx.Check(h, size, &vhdx.CheckOptions{Parent: parent})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if missing != nil {
		rep.Findings = append(rep.Findings, *missing)
	}
	return NewChecked(path, rep), nil
}

// NewChecked returns what a check of the file found.
func NewChecked(path string, rep *vhdx.Report) *Checked {
	res := &Checked{File: path, OK: rep.OK(), More: rep.More, Blocks: rep.Blocks, BlocksInFile: rep.InFile, Findings: []Finding{}}
	for _, f := range rep.Findings {
		res.Findings = append(res.Findings, Finding{f.Severity.String(), f.Structure, f.Offset, f.Text})
	}
	return res
}

// parentToCheck finds the parent that the link of a child is to be checked with, or a finding that
// tells why there is none. A child alone is no damaged file: a parent that is not at hand is a
// note.
func parentToCheck(path string, parents *vhdx.Parents) (*vhdx.File, *vhdx.Finding) {
	child, err := vhdx.Open(path, nil)
	if err != nil {
		return nil, nil // Check tells it
	}
	defer child.Close()
	if !child.Metadata().HasParent {
		return nil, nil
	}
	parent, err := parents.Find(child)
	if err == nil {
		return parent, nil
	}
	region, _ := child.Regions().Find(vhdx.RegionMetadata)
	found := &vhdx.Finding{Structure: "parent locator", Offset: region.Offset}
	var missing *vhdx.ParentError
	switch {
	case errors.As(err, &missing) && missing.Path == "":
		found.Severity, found.Text = vhdx.Note, fmt.Sprintf("the link was not checked: %v", err)
	case errors.Is(err, vhdx.ErrChainMismatch):
		found.Severity, found.Text = vhdx.Error, err.Error()
	default:
		found.Severity, found.Text = vhdx.Warning, fmt.Sprintf("the link was not checked: %v", err)
	}
	return nil, found
}

// Print writes a line per finding, or one that all is well.
func (r *Checked) Print(w io.Writer) {
	for _, f := range r.Findings {
		fmt.Fprintln(w, cli.Clean(fmt.Sprintf("%s: %s: %s at offset %#x: %s", r.File, f.Severity, f.Structure, f.Offset, f.Text)))
	}
	if r.More > 0 {
		fmt.Fprintln(w, cli.Clean(fmt.Sprintf("%s: and %d more findings", r.File, r.More)))
	}
	if r.OK {
		fmt.Fprintln(w, cli.Clean(fmt.Sprintf("%s: ok, %d blocks, %d in the file", r.File, r.Blocks, r.BlocksInFile)))
	}
}
