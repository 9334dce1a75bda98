package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"troy/vhdx"
)

// jsonCheck is one element of the array that "vhdx check --json" prints, one per argument, in order.
type jsonCheck struct {
	File         string        `json:"file"`
	OK           bool          `json:"ok"`       // no finding above a note
	Findings     []jsonFinding `json:"findings"` // never null
	More         int           `json:"more"`     // findings left out
	Blocks       int64         `json:"blocks"`   // payload blocks looked at
	BlocksInFile int64         `json:"blocks_in_file"`
	Error        string        `json:"error,omitempty"` // the file could not be read; nothing else counts then
}

// jsonFinding is one thing that is wrong, or odd.
type jsonFinding struct {
	Severity  string `json:"severity"`  // note, warning, error
	Structure string `json:"structure"` // in the words of MS-VHDX
	Offset    int64  `json:"offset"`    // of the file
	Text      string `json:"text"`
}

func runVHDXCheck(ctx context.Context, c *call) error {
	v := newVHDXCall(c)
	var parents paths
	v.fs.Var(&parents, "parent", "a `file` that is the parent of one to be checked (default: the name in the child, in its own folder)")
	args, err := v.parse(v.fs, 1, -1)
	if err != nil {
		return err
	}
	list, bad, failed := []*jsonCheck{}, 0, error(nil)
	for _, path := range args {
		if ctx.Err() != nil {
			return explain(context.Cause(ctx), nothingChanged)
		}
		res, err := checkOne(path, &vhdx.Parents{Named: parents})
		if err != nil {
			failed = v.also(failed, err)
			res = &jsonCheck{File: path, Error: err.Error(), Findings: []jsonFinding{}}
		} else if !res.OK {
			bad++
		}
		list = append(list, res)
		if !v.json && err == nil {
			res.print(v.stdout)
		}
	}
	if v.json {
		if err := v.printJSON(list); err != nil {
			return err
		}
	}
	return checkVerdict(explain(failed, nothingChanged), bad, len(args))
}

// checkVerdict makes the error of the whole run: damage that was found counts more than a file that is not there.
func checkVerdict(failed error, bad, total int) error {
	if bad == 0 {
		return failed
	}
	err := fmt.Errorf("%w: %d of %d files have something wrong; %s", errCheck, bad, total, nothingChanged)
	if failed != nil {
		err = fmt.Errorf("%w; also: %w", err, failed)
	}
	return err
}

// checkOne checks one file. The error is of a file that cannot be read at all.
func checkOne(path string, parents *vhdx.Parents) (*jsonCheck, error) {
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
	return newJSONCheck(path, rep), nil
}

func newJSONCheck(path string, rep *vhdx.Report) *jsonCheck {
	res := &jsonCheck{File: path, OK: rep.OK(), More: rep.More, Blocks: rep.Blocks, BlocksInFile: rep.InFile, Findings: []jsonFinding{}}
	for _, f := range rep.Findings {
		res.Findings = append(res.Findings, jsonFinding{f.Severity.String(), f.Structure, f.Offset, f.Text})
	}
	return res
}

// parentToCheck finds the parent that the link of a child is to be checked with, or a finding that tells why there is
// none. A child alone is no damaged file: a parent that is not at hand is a note.
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

// print writes a line per finding, or one that all is well.
func (r *jsonCheck) print(w io.Writer) {
	for _, f := range r.Findings {
		fmt.Fprintln(w, clean(fmt.Sprintf("%s: %s: %s at offset %#x: %s", r.File, f.Severity, f.Structure, f.Offset, f.Text)))
	}
	if r.More > 0 {
		fmt.Fprintln(w, clean(fmt.Sprintf("%s: and %d more findings", r.File, r.More)))
	}
	if r.OK {
		fmt.Fprintln(w, clean(fmt.Sprintf("%s: ok, %d blocks, %d in the file", r.File, r.Blocks, r.BlocksInFile)))
	}
}
