package main

import (
	"context"
	"errors"
	"fmt"

	"troy/internal/guid"
	"troy/vhdx"
)

// jsonRelink is what "vhdx relink --json" prints.
type jsonRelink struct {
	Child         string           `json:"child"`
	Changes       []jsonChange     `json:"changes"`         // never null
	Locator       []jsonLocatorKey `json:"locator"`         // now
	DataWriteGUID guid.GUID        `json:"data_write_guid"` // of the child, now: changed by --ignore-mismatch alone
}

// jsonChange is one entry of a locator that is not as it was; "" is an entry that was not there.
type jsonChange struct {
	Key string `json:"key"`
	Old string `json:"old"`
	New string `json:"new"`
}

// vhdxRelink is what the flags of "vhdx relink" say.
type vhdxRelink struct {
	*vhdxCall
	parent  string
	options vhdx.RelinkOptions
}

func runVHDXRelink(_ context.Context, c *call) error {
	v := &vhdxRelink{vhdxCall: newVHDXCall(c)}
	o := &v.options
	v.fs.StringVar(&v.parent, "parent", "", "the `file` to link to; its identity and, without --path, its path relative to CHILD are stored")
	v.fs.StringVar(&o.RelativePath, "path", "", "`relative_path` to store, as Windows is to read it")
	v.fs.StringVar(&o.AbsolutePath, "absolute-path", "", "`absolute_win32_path` to store")
	v.fs.StringVar(&o.VolumePath, "volume-path", "", "`volume_path` to store")
	v.fs.BoolVar(&o.IgnoreMismatch, "ignore-mismatch", false, "link to a parent that CHILD was not made for: what CHILD shows may change")
	args, err := v.parse(v.fs, 1, 1)
	if err != nil {
		return err
	}
	if v.parent == "" && o.RelativePath+o.AbsolutePath+o.VolumePath == "" {
		return &usageError{"nothing to change: give --parent or a path"}
	}
	if o.IgnoreMismatch && v.parent == "" {
		return &usageError{"--ignore-mismatch needs --parent"}
	}
	return v.relink(args[0])
}

func (v *vhdxRelink) relink(path string) error {
	err := v.prepare(path)
	if v.options.Parent != nil {
		defer v.options.Parent.Close()
	}
	if err != nil {
		return explain(err, nothingChanged)
	}
	child, err := vhdx.Open(path, &vhdx.OpenOptions{Writable: true})
	if err != nil {
		return explain(err, path+" reads as before")
	}
	before := child.Metadata().ParentLocator
	identity := child.Header().DataWriteGUID
	err = vhdx.Relink(child, &v.options)
	if cerr := child.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return explain(err, path+" has the old locator, or the new one whole")
	}
	res := newJSONRelink(path, before, child)
	if v.json {
		return v.printJSON(res)
	}
	v.show(res, child.LogPending(), identity)
	return nil
}

// prepare reads both files, changing nothing, and refuses what cannot be.
func (v *vhdxRelink) prepare(path string) error {
	child, err := vhdx.Open(path, nil)
	if err != nil {
		return err
	}
	defer child.Close()
	if !child.Metadata().HasParent {
		return &fault{err: fmt.Errorf("%s is a %v disk: it has no parent locator", path, child.Metadata().Kind())}
	}
	if v.parent == "" {
		// A parent that a merge left half way is known by the second linkage only.
		_, v.options.Linkage2 = linkages(child)
		return writable(path)
	}
	if err := v.openParent(child, path); err != nil {
		return err
	}
	if v.options.RelativePath == "" {
		v.options.RelativePath = relativeTo(path, v.parent)
	}
	return writable(path)
}

func (v *vhdxRelink) openParent(child *vhdx.File, path string) (err error) {
	if v.options.Parent, err = vhdx.Open(v.parent, nil); err != nil {
		return err
	}
	if err := vhdx.CheckLink(child, v.options.Parent); err != nil && !v.options.IgnoreMismatch {
		err = fmt.Errorf("%s over %s: %w", path, v.parent, err)
		if errors.Is(err, vhdx.ErrChainMismatch) {
			return &fault{err: err, advice: "--ignore-mismatch links them all the same, but what the child shows may change"}
		}
		return err
	}
	return v.noCircle(path)
}

// noCircle refuses a parent that stands on the child, as far as its own parents are at hand.
func (v *vhdxRelink) noCircle(child string) error {
	parents := &vhdx.Parents{}
	if chain, err := openChain(v.parent, parents); err == nil {
		chain.Close() // opened for reading only: nothing can be lost
	}
	for _, path := range append(parents.Found(), v.parent) {
		if sameFile(path, child) {
			return fmt.Errorf("%s stands on %s: it cannot be its parent", v.parent, child)
		}
	}
	return nil
}

func newJSONRelink(path string, before *vhdx.ParentLocator, child *vhdx.File) *jsonRelink {
	now := child.Metadata().ParentLocator
	res := &jsonRelink{Child: path, Changes: []jsonChange{}, DataWriteGUID: child.Header().DataWriteGUID}
	for _, e := range now.Entries {
		res.Locator = append(res.Locator, jsonLocatorKey{e.Key, e.Value})
		if old, _ := before.Get(e.Key); old != e.Value {
			res.Changes = append(res.Changes, jsonChange{e.Key, old, e.Value})
		}
	}
	return res
}

func (v *vhdxRelink) show(res *jsonRelink, replayed bool, identity guid.GUID) {
	say := func(format string, args ...any) { fmt.Fprintln(v.stdout, clean(fmt.Sprintf(format, args...))) }
	if replayed {
		say("%s was not closed cleanly: its log was replayed first", res.Child)
	}
	if len(res.Changes) == 0 {
		say("%s: the locator says so already", res.Child)
	}
	for _, c := range res.Changes {
		say("%s: %s was '%s', is '%s'", res.Child, c.Key, c.Old, c.New)
	}
	if identity != res.DataWriteGUID {
		say("%s shows another disk now: its own children do not fit it any more", res.Child)
	}
}
