package vhdx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"troy/internal/errline"
)

// Resolver finds the parent of a child. It returns an open file, which then
// belongs to the chain. It decides alone where to look: paths in a file are
// claims of the program that made the file. Parents.Find is one for disks in files.
type Resolver func(child *File) (*File, error)

// ChainOptions tells how to open a chain. The zero value opens one file
// without a parent for reading.
type ChainOptions struct {
	Writable        bool     // the leaf is opened for writing
	WritableParents bool     // so are the parents: for MergeChain, and for nothing else
	Parents         *Parents // where parents are looked for; nil refuses differencing disks
}

// OpenChain opens the leaf at path and all its parents. Errors: those of Open,
// NewChain and Parents.Find.
func OpenChain(path string, o *ChainOptions) (*Chain, error) {
	if o == nil {
		o = &ChainOptions{}
	}
	leaf, err := Open(path, &OpenOptions{Writable: o.Writable})
	if err != nil {
		return nil, err
	}
	var resolve Resolver
	switch {
	case o.Parents != nil && o.WritableParents:
		resolve = o.Parents.findWritable
	case o.Parents != nil:
		resolve = o.Parents.Find
	}
	c, err := ResolveChain(leaf, resolve)
	if err != nil {
		return nil, errline.Join(pathError(path, err), leaf.Close())
	}
	return c, nil
}

// ResolveChain completes the chain of an open leaf; a nil resolver finds no
// parents. On error the leaf is left open. Errors: those of NewChain and the
// resolver.
func ResolveChain(leaf *File, resolve Resolver) (*Chain, error) {
	files := []*File{leaf}
	c, err := resolveChain(&files, resolve)
	if err != nil {
		for _, f := range files[1:] {
			f.Close() // nothing was written: nothing can be lost
		}
	}
	return c, err
}

func resolveChain(files *[]*File, resolve Resolver) (*Chain, error) {
	for resolve != nil {
		child := (*files)[len(*files)-1]
		if !child.Metadata().HasParent {
			break
		}
		if len(*files) == maxChain {
			return nil, fmt.Errorf("%w: more than %d files in the chain", ErrChainMismatch, maxChain)
		}
		parent, err := resolve(child)
		if err != nil {
			return nil, err
		}
		*files = append(*files, parent)
		if slices.ContainsFunc((*files)[:len(*files)-1], parent.same) {
			return nil, noCircle(*files)
		}
	}
	return NewChain(*files...)
}

// Parents finds the parents of disks that are files: among the files that the
// caller names, then in the child's own folder, under the file names that the
// paths of the child's locator end with. A name whose file is missing or is
// not the parent leads to the next one, in the order of MS-VHDX 2.6.2.6.3:
// relative_path, volume_path, absolute_win32_path. No other part of a path in
// a file is ever followed. The zero value names no files. It is for one goroutine.
type Parents struct {
	Named []string // paths, nearest parent first; the first one that fits is taken, and each only once

	found []string
}

// Found returns the paths of the parents that were found so far, in this order.
func (p *Parents) Found() []string { return slices.Clone(p.found) }

// Find is a Resolver for a child that Open has opened. Case of letters in the
// name counts only when two files differ in nothing else, as on the file
// systems that the names come from. The parent is opened for reading.
//
// Errors: *ParentError when no file is the parent, or the one in its place
// cannot be read; those of Open for a named file.
func (p *Parents) Find(child *File) (*File, error) {
	f, misfit, err := p.findNamed(child)
	if f != nil || err != nil {
		return f, err
	}
	f, found, err := findInFolder(child)
	switch {
	case err == nil:
		p.found = append(p.found, f.path)
		return f, nil
	case found:
		return nil, err
	}
	return nil, errline.Join(misfit, err)
}

// findInFolder tries the names that the locator gives, in the child's own folder. found tells that
// there is a file of such a name; err is about the first one then.
func findInFolder(child *File) (f *File, found bool, err error) {
	var misfit error
	for _, name := range child.parentNames() {
		path, err := child.inFolder(name)
		if err != nil {
			return nil, false, err
		}
		if path == "" {
			continue
		}
		if f, err = openParent(child, path, name); err == nil {
			return f, true, nil
		}
		if misfit == nil {
			misfit = err
		}
	}
	if misfit != nil {
		return nil, true, misfit
	}
	return nil, false, &ParentError{Child: child.path, Name: child.ParentName()}
}

// findNamed looks among the named files. misfit is why the first one that was
// tried is not the parent, if none is.
func (p *Parents) findNamed(child *File) (f *File, misfit, err error) {
	for _, path := range p.Named {
		if slices.Contains(p.found, path) {
			continue
		}
		f, err := openParent(child, path, child.ParentName())
		switch {
		case err == nil:
			p.found = append(p.found, path)
			return f, nil, nil
		case !errors.Is(err, ErrChainMismatch):
			return nil, nil, err
		case misfit == nil:
			misfit = err
		}
	}
	return nil, misfit, nil
}

// findWritable is Find for a parent that is to be written to. It is opened for
// that only when it is known to be the right one: a log would be replayed in it.
func (p *Parents) findWritable(child *File) (*File, error) {
	f, err := p.Find(child)
	if err != nil {
		return nil, err
	}
	path := f.path
	if err := f.Close(); err != nil {
		return nil, err
	}
	return Open(path, &OpenOptions{Writable: true})
}

// openParent opens the file in the parent's place and checks that it is the one.
func openParent(child *File, path, name string) (*File, error) {
	f, err := Open(path, nil)
	if err != nil {
		return nil, &ParentError{Child: child.path, Name: name, Path: path, Err: err}
	}
	err = CheckLink(child, f)
	if err == nil && child.same(f) {
		err = fmt.Errorf("%w: the child names itself", ErrChainMismatch)
	}
	if err != nil {
		f.Close() // opened for reading only: nothing can be lost
		return nil, &ParentError{Child: child.path, Name: name, Path: path, Err: err}
	}
	return f, nil
}

// ParentError tells why the parent of a child was not found. Without a file in
// its place it unwraps to ErrChainMismatch and fs.ErrNotExist; else to Err,
// which is an ErrChainMismatch for a file that is not the parent.
type ParentError struct {
	Child string // path of the child
	Name  string // of the parent's file, as the child's locator gives it; "": it gives none
	Path  string // of the file in its place; "": there is none
	Err   error  // what is wrong with that file
}

// Error returns child, parent and reason in one line.
func (e *ParentError) Error() string {
	switch {
	case e.Path != "" && errors.Is(e.Err, ErrChainMismatch):
		return fmt.Sprintf("%s over %s: %v", e.Child, e.Path, e.Err)
	case e.Path != "":
		return fmt.Sprintf("the parent of %s: %v", e.Child, e.Err)
	case e.Name == "":
		return e.Child + " does not name the file of its parent"
	case e.Child == "":
		return fmt.Sprintf("the parent %q is not among the named files", e.Name)
	}
	return fmt.Sprintf("the parent %q of %s is not in the folder %s", e.Name, e.Child, filepath.Dir(e.Child))
}

// Unwrap returns the classes of the error.
func (e *ParentError) Unwrap() []error {
	if e.Path == "" {
		return []error{ErrChainMismatch, fs.ErrNotExist}
	}
	return []error{e.Err}
}

// ParentName returns the first file name of the parent that the locator of a
// differencing disk gives, without any folder: the last part of relative_path,
// else of volume_path or absolute_win32_path; "" if there is none.
func (f *File) ParentName() string {
	if names := f.parentNames(); len(names) > 0 {
		return names[0]
	}
	return ""
}

// parentNames returns the file names that the locator gives, in the order in which they are tried.
func (f *File) parentNames() (names []string) {
	l := f.Metadata().ParentLocator
	if l == nil {
		return nil
	}
	for _, key := range []string{KeyRelativePath, KeyVolumePath, KeyAbsoluteWin32Path} {
		v, _ := l.Get(key)
		name := v[strings.LastIndexAny(v, `\/`)+1:]
		if name != "" && name != "." && name != ".." && !strings.ContainsRune(name, 0) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// inFolder returns the path of the file of that name in f's folder, "" if there is none.
func (f *File) inFolder(name string) (string, error) {
	if f.path == "" {
		return "", nil
	}
	dir := filepath.Dir(f.path)
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(list, func(e os.DirEntry) bool { return strings.EqualFold(e.Name(), name) })
	if i < 0 {
		return "", nil
	}
	return filepath.Join(dir, list[i].Name()), nil
}
