package vhdxcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"troy/internal/cli"
	"troy/internal/guid"
	"troy/internal/progress"
	"troy/vhdx"
)

// Merged is what "merge --json" prints.
type Merged struct {
	Child           string   `json:"child"`
	Parent          string   `json:"parent"`
	VirtualDiskSize int64    `json:"virtual_disk_size"` // of the parent, now
	DataWriteGUID   string   `json:"data_write_guid"`   // of the parent, now
	Invalid         []string `json:"invalid"`           // other children of the parent in both folders: they do not fit it any more
	Children        []string `json:"children"`          // children of the child in both folders: they need it, or a relink
}

// merge is one merge: what was found before, and the two files.
type merge struct {
	*base
	Merged
	stale, own    []guid.GUID // identities of the parent that go, and of the child
	parentBefore  guid.GUID   // DataWriteGuid
	childBefore   guid.GUID   // FileWriteGuid
	keepIdentity  bool
	parents       cli.List
	child, parent *vhdx.File
}

func newMerge(b *base) *Command {
	m := &merge{base: b}
	c := b.command("merge", "CHILD", "merge a child into its parent, in place", 1, 1, m.run)
	c.Flags.Var(&m.parents, "parent", "the `file` to merge into (default: the name in CHILD, in its own folder)")
	c.Flags.BoolVar(&m.keepIdentity, "keep-identity", false, "give the parent the identity of CHILD, so that children of CHILD fit it after a relink; CHILD itself does not fit it then")
	return c
}

func (m *merge) run(ctx context.Context, args []string) error {
	if err := m.plan(args[0], &vhdx.Parents{Named: m.parents}); err != nil {
		return m.explain(err, cli.NothingChanged)
	}
	m.announce()
	if err := m.open(); err != nil {
		return m.explain(err, m.fate())
	}
	if err := m.work(ctx); err != nil {
		return m.explain(err, m.fate())
	}
	if m.json {
		return m.JSON(m.Merged)
	}
	m.showMerged()
	return nil
}

// plan reads both files, changing nothing, and refuses what would not end well.
func (m *merge) plan(path string, parents *vhdx.Parents) error {
	child, err := vhdx.Open(path, nil)
	if err != nil {
		return err
	}
	defer child.Close()
	if !child.Metadata().HasParent {
		return &cli.Fault{Err: fmt.Errorf("%s is a %v disk: it has no parent to be merged into", path, child.Metadata().Kind())}
	}
	parent, err := parents.Find(child)
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := noCircle(path, parent.Path()); err != nil {
		return err
	}
	noteUnused(m.Streams, parents)
	m.Child, m.Parent = path, parent.Path()
	m.VirtualDiskSize = child.Metadata().VirtualDiskSize
	m.parentBefore, m.childBefore = parent.Header().DataWriteGUID, child.Header().FileWriteGUID
	m.own = []guid.GUID{child.Header().DataWriteGUID}
	// A merge that was interrupted has changed the parent's identity; the child still knows the one
	// before.
	first, second := linkages(child)
	m.stale = []guid.GUID{m.parentBefore, first, second}
	if err := m.sound(); err != nil {
		return err
	}
	m.findRelatives()
	return writable(m.Child, m.Parent)
}

// linkages returns the two identities that a child accepts in its parent, zero for what it does not
// name.
func linkages(child *vhdx.File) (first, second guid.GUID) {
	if l := child.Metadata().ParentLocator; l != nil {
		first, _ = l.Linkage()
		second, _ = l.Linkage2()
	}
	return first, second
}

// sound refuses damaged files: nothing of a bad child is to get into a parent. What stands below
// the parent is not asked: the link between the two was checked, the next one does not matter.
func (m *merge) sound() error {
	for _, path := range []string{m.Child, m.Parent} {
		res, err := checkOne(path, &vhdx.Parents{Named: []string{m.Parent}})
		if err != nil {
			return err
		}
		for _, f := range res.Findings {
			if f.Severity == vhdx.Error.String() && f.Structure != "parent locator" {
				return fmt.Errorf("%s: %w", path, &vhdx.FormatError{Structure: f.Structure, Offset: f.Offset, Reason: f.Text})
			}
		}
	}
	return nil
}

// findRelatives looks in both folders for files that the merge concerns.
func (m *merge) findRelatives() {
	m.Invalid, m.Children = []string{}, []string{}
	dirs := []string{filepath.Dir(m.Parent)}
	if !cli.SameFile(dirs[0], filepath.Dir(m.Child)) {
		dirs = append(dirs, filepath.Dir(m.Child))
	}
	for _, dir := range dirs {
		list, _ := os.ReadDir(dir) // a folder that cannot be listed has nothing to tell
		for _, e := range list {
			ext := strings.ToLower(filepath.Ext(e.Name()))
			if e.Type().IsRegular() && (ext == ".vhdx" || ext == ".avhdx") {
				m.judgeRelative(filepath.Join(dir, e.Name()))
			}
		}
	}
}

func (m *merge) judgeRelative(path string) {
	if cli.SameFile(path, m.Child) || cli.SameFile(path, m.Parent) {
		return
	}
	f, err := vhdx.Open(path, nil)
	if err != nil {
		return // no VHDX, or none that has a say
	}
	defer f.Close()
	first, second := linkages(f)
	names := func(list []guid.GUID) bool {
		return slices.ContainsFunc(list, func(g guid.GUID) bool { return !g.IsZero() && (g == first || g == second) })
	}
	switch {
	case names(m.own):
		m.Children = append(m.Children, path)
	case names(m.stale):
		m.Invalid = append(m.Invalid, path)
	}
}

// writable checks the rights before anything is changed.
func writable(paths ...string) error {
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		f.Close() // nothing was written
	}
	return nil
}

// announce says beforehand what the merge breaks.
func (m *merge) announce() {
	if m.json {
		return
	}
	fmt.Fprintf(m.Out, "merging %s into %s\n", cli.Clean(m.Child), cli.Clean(m.Parent))
	for _, path := range m.Invalid {
		fmt.Fprintf(m.Out, "not valid from now on: %s is another child of %s\n", cli.Clean(path), cli.Clean(m.Parent))
	}
}

// open opens both files for writing; logs that were left behind are replayed in them.
func (m *merge) open() (err error) {
	if m.child, err = vhdx.Open(m.Child, &vhdx.OpenOptions{Writable: true}); err != nil {
		return err
	}
	m.parent, err = vhdx.Open(m.Parent, &vhdx.OpenOptions{Writable: true})
	if err != nil {
		return errors.Join(err, m.child.Close())
	}
	for path, f := range map[string]*vhdx.File{m.Child: m.child, m.Parent: m.parent} {
		if f.LogPending() {
			m.Note("%s was not closed cleanly: its log was replayed in the file first", path)
		}
	}
	return nil
}

func (m *merge) work(ctx context.Context) error {
	meter := progress.New(m.Err, "merging", m.VirtualDiskSize)
	err := vhdx.Merge(ctx, m.child, m.parent, &vhdx.MergeOptions{KeepIdentity: m.keepIdentity, Progress: meter})
	meter.Done()
	m.DataWriteGUID = m.parent.Header().DataWriteGUID.String()
	m.VirtualDiskSize = m.parent.Geometry().VirtualDiskSize
	for _, f := range []*vhdx.File{m.parent, m.child} {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}
	return err
}

// fate tells what a merge that failed has changed.
func (m *merge) fate() string {
	switch {
	case m.parent != nil && m.parent.Header().DataWriteGUID != m.parentBefore:
		return fmt.Sprintf("%s is partly merged and needs %s, over which it reads as before: keep both until a merge has ended well", m.Child, m.Parent)
	case m.child != nil && m.child.Header().FileWriteGUID != m.childBefore:
		return fmt.Sprintf("the content of %s and %s is unchanged", m.Child, m.Parent)
	}
	return cli.NothingChanged
}

func (m *merge) showMerged() {
	child, parent := cli.Clean(m.Child), cli.Clean(m.Parent)
	fmt.Fprintf(m.Out, "merged: %s shows now what %s showed (%d bytes)\n", parent, child, m.VirtualDiskSize)
	for _, path := range m.Children {
		if m.keepIdentity {
			fmt.Fprintf(m.Out, "%s is a child of %s: '%s relink --parent %s %s' makes it a child of the parent\n", cli.Clean(path), child, m.tool, parent, cli.Clean(path))
			continue
		}
		fmt.Fprintf(m.Out, "%s is a child of %s and still needs it\n", cli.Clean(path), child)
	}
	if len(m.Children) == 0 {
		fmt.Fprintf(m.Out, "%s is not needed any more\n", child)
	}
	fmt.Fprintf(m.Out, "any other child of %s, wherever it is, is not valid any more\n", parent)
}
