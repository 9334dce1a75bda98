package vhdx

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"troy/internal/errline"
)

// Resolver finds the parent of a child. It returns an open file, which then
// belongs to the chain. It decides alone where to look: paths in a file are
// claims of whoever made the file.
type Resolver func(child *File) (*File, error)

// ChainOptions tells how to open a chain. The zero value opens one file
// without a parent for reading.
type ChainOptions struct {
	Writable        bool     // the leaf is opened for writing
	WritableParents bool     // so are the parents: for MergeChain, and for nothing else
	Resolve         Resolver // finds parents; nil refuses differencing disks
}

// OpenChain opens the leaf at path and, by o.Resolve, all its parents. Errors:
// those of Open, NewChain and the resolver.
func OpenChain(path string, o *ChainOptions) (*Chain, error) {
	if o == nil {
		o = &ChainOptions{}
	}
	leaf, err := Open(path, &OpenOptions{Writable: o.Writable})
	if err != nil {
		return nil, err
	}
	resolve := o.Resolve
	if o.WritableParents && resolve != nil {
		resolve = func(child *File) (*File, error) {
			return ResolveParent(child, o.Resolve, &OpenOptions{Writable: true})
		}
	}
	c, err := ResolveChain(leaf, resolve)
	if err != nil {
		return nil, errline.Join(pathError(path, err), leaf.Close())
	}
	return c, nil
}

// ResolveParent finds the parent of child by the resolver, checks that it is
// the right one, and opens it as o says: for writing, as Merge needs it, only a
// parent that the resolver opened with Open can be had. Errors: those of the
// resolver, NewChain and Open.
func ResolveParent(child *File, resolve Resolver, o *OpenOptions) (*File, error) {
	if !child.Metadata().HasParent {
		return nil, fmt.Errorf("%w: the file is no differencing disk", ErrChainMismatch)
	}
	if resolve == nil {
		return nil, fmt.Errorf("%w: nothing was given to find the parent %s with", ErrChainMismatch, parentName(child))
	}
	f, err := resolve(child)
	if err != nil {
		return nil, err
	}
	if err := checkLink(child, f); err != nil {
		f.Close() // the resolver's, opened for reading
		return nil, err
	}
	if o == nil || !o.Writable || f.Writable() {
		return f, nil
	}
	path := f.path
	if err := f.Close(); err != nil {
		return nil, err
	}
	if path == "" {
		return nil, fmt.Errorf("%w: the parent was not opened by its path", ErrReadOnly)
	}
	return Open(path, o)
}

// ResolveChain completes the chain of an open leaf. On error the leaf is left
// open. Errors: those of NewChain and the resolver.
func ResolveChain(leaf *File, resolve Resolver) (*Chain, error) {
	files := []*File{leaf}
	c, err := resolveChain(&files, resolve)
	if err != nil {
		for _, f := range files[1:] {
			f.Close() // opened for reading only: nothing can be lost
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
	}
	return NewChain(*files...)
}

// FolderResolver looks for the parent in dir, under the file name that the
// child's locator gives: the last part of relative_path, else of
// absolute_win32_path or volume_path. Case of letters counts only when two
// files differ in nothing else. Errors: ErrChainMismatch when the locator
// names no file, or none that is there.
func FolderResolver(dir string) Resolver {
	return func(child *File) (*File, error) {
		name := parentName(child)
		if name == "" {
			return nil, fmt.Errorf("%w: the child's locator names no file", ErrChainMismatch)
		}
		path, err := findName(dir, name)
		if err != nil {
			return nil, err
		}
		return Open(path, nil)
	}
}

// ParentName returns the file name of the parent as the locator of a
// differencing disk gives it, without any folder; "" if it has none.
func (f *File) ParentName() string { return parentName(f) }

// parentName returns the file name that a locator gives, without any folder.
func parentName(child *File) string {
	l := child.Metadata().ParentLocator
	if l == nil {
		return ""
	}
	for _, key := range []string{KeyRelativePath, KeyAbsoluteWin32Path, KeyVolumePath} {
		v, _ := l.Get(key)
		name := v[strings.LastIndexAny(v, `\/`)+1:]
		if name != "" && name != "." && name != ".." && !strings.ContainsRune(name, 0) {
			return name
		}
	}
	return ""
}

// findName returns the path of name in dir, in any case if need be.
func findName(dir, name string) (string, error) {
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
		return "", fmt.Errorf("%w: the parent %q is not in %s", ErrChainMismatch, name, dir)
	}
	return filepath.Join(dir, list[i].Name()), nil
}

// PathsResolver looks for the parent among the given files, in order, and
// takes the first that the child is linked to. Errors: ErrChainMismatch when
// there is none, and those of Open.
func PathsResolver(nearestFirst ...string) Resolver {
	return func(child *File) (*File, error) {
		for _, path := range nearestFirst {
			f, err := Open(path, nil)
			if err != nil {
				return nil, err
			}
			ok, err := linked(child, f)
			if ok {
				return f, nil
			}
			f.Close() // opened for reading only: nothing can be lost
			if err != nil {
				return nil, err
			}
		}
		return nil, fmt.Errorf("%w: none of the %d named files is the parent (%s) of the child", ErrChainMismatch, len(nearestFirst), parentName(child))
	}
}
