package vhdxcmd

import (
	"context"
	"errors"
	"fmt"

	"troy/internal/cli"
	"troy/internal/guid"
	"troy/vhdx"
)

// Relinked is what "relink --json" prints.
type Relinked struct {
	Child         string       `json:"child"`
	Changes       []Change     `json:"changes"`         // never null
	Locator       []LocatorKey `json:"locator"`         // now
	DataWriteGUID guid.GUID    `json:"data_write_guid"` // of the child, now: changed by --ignore-mismatch alone
}

// Change is one entry of a locator that is not as it was; "" is an entry that was not there.
type Change struct {
	Key string `json:"key"`
	Old string `json:"old"`
	New string `json:"new"`
}

// relink is what the flags of "relink" say.
type relink struct {
	*base
	parent  string
	options vhdx.RelinkOptions
}

func newRelink(b *base) *Command {
	v := &relink{base: b}
	o := &v.options
	c := b.command("relink", "CHILD", "point a child at its parent again", 1, 1, v.run)
	c.Flags.StringVar(&v.parent, "parent", "", "the `file` to link to; its identity and, without --path, its path relative to CHILD are stored")
	c.Flags.StringVar(&o.RelativePath, "path", "", "`text` to store as relative_path, as Windows is to read it")
	c.Flags.StringVar(&o.AbsolutePath, "absolute-path", "", "`text` to store as absolute_win32_path")
	c.Flags.StringVar(&o.VolumePath, "volume-path", "", "`text` to store as volume_path")
	c.Flags.BoolVar(&o.IgnoreMismatch, "ignore-mismatch", false, "link to a parent that CHILD was not made for: what CHILD shows may change")
	return c
}

func (v *relink) run(_ context.Context, args []string) error {
	o := &v.options
	if v.parent == "" && o.RelativePath+o.AbsolutePath+o.VolumePath == "" {
		return cli.Usagef("nothing to change: give --parent or a path")
	}
	if o.IgnoreMismatch && v.parent == "" {
		return cli.Usagef("--ignore-mismatch needs --parent")
	}
	return v.change(args[0])
}

func (v *relink) change(path string) error {
	err := v.prepare(path)
	if v.options.Parent != nil {
		defer v.options.Parent.Close()
	}
	if err != nil {
		return v.explain(err, cli.NothingChanged)
	}
	child, err := vhdx.Open(path, &vhdx.OpenOptions{Writable: true})
	if err != nil {
		return v.explain(err, path+" reads as before")
	}
	before := child.Metadata().ParentLocator
	identity := child.Header().DataWriteGUID
	err = vhdx.Relink(child, &v.options)
	if cerr := child.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return v.explain(err, path+" has the old locator, or the new one whole")
	}
	res := newRelinked(path, before, child)
	if v.json {
		return v.JSON(res)
	}
	v.show(res, child.LogPending(), identity)
	return nil
}

// prepare reads both files, changing nothing, and refuses what cannot be.
func (v *relink) prepare(path string) error {
	child, err := vhdx.Open(path, nil)
	if err != nil {
		return err
	}
	defer child.Close()
	if !child.Metadata().HasParent {
		return &cli.Fault{Err: fmt.Errorf("%s is a %v disk: it has no parent locator", path, child.Metadata().Kind())}
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

func (v *relink) openParent(child *vhdx.File, path string) (err error) {
	if v.options.Parent, err = vhdx.Open(v.parent, nil); err != nil {
		return err
	}
	if err := vhdx.CheckLink(child, v.options.Parent); err != nil && !v.options.IgnoreMismatch {
		err = fmt.Errorf("%s over %s: %w", path, v.parent, err)
		if errors.Is(err, vhdx.ErrChainMismatch) {
			return &cli.Fault{Err: err, Advice: "--ignore-mismatch links them all the same, but what the child shows may change"}
		}
		return err
	}
	return noCircle(path, v.parent)
}

// noCircle refuses a parent that stands on the child, as far as its own parents are at hand.
func noCircle(child, parent string) error {
	parents := &vhdx.Parents{}
	if chain, err := openChain(parent, parents); err == nil {
		chain.Close() // opened for reading only: nothing can be lost
	}
	for _, path := range append(parents.Found(), parent) {
		if cli.SameFile(path, child) {
			return fmt.Errorf("%s stands on %s: it cannot be its parent", parent, child)
		}
	}
	return nil
}

func newRelinked(path string, before *vhdx.ParentLocator, child *vhdx.File) *Relinked {
	now := child.Metadata().ParentLocator
	res := &Relinked{Child: path, Changes: []Change{}, DataWriteGUID: child.Header().DataWriteGUID}
	for _, e := range now.Entries {
		res.Locator = append(res.Locator, LocatorKey{e.Key, e.Value})
		if old, _ := before.Get(e.Key); old != e.Value {
			res.Changes = append(res.Changes, Change{e.Key, old, e.Value})
		}
	}
	return res
}

func (v *relink) show(res *Relinked, replayed bool, identity guid.GUID) {
	say := func(format string, args ...any) { fmt.Fprintln(v.Out, cli.Clean(fmt.Sprintf(format, args...))) }
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
