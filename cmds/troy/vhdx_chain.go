package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"troy/vhdx"
)

// layers finds the parents of a child and remembers where each file came from.
type layers struct {
	named  paths // --parent
	used   map[string]bool
	paths  map[*vhdx.File]string
	opened []*vhdx.File // in the order of opening; closed ones included
}

func newLayers(named paths) *layers {
	return &layers{named: named, used: map[string]bool{}, paths: map[*vhdx.File]string{}}
}

// path returns where f was opened.
func (l *layers) path(f *vhdx.File) string { return l.paths[f] }

// open opens one file for reading.
func (l *layers) open(path string) (*vhdx.File, error) { return l.openWith(path, nil) }

func (l *layers) openWith(path string, o *vhdx.OpenOptions) (*vhdx.File, error) {
	f, err := vhdx.Open(path, o)
	if err != nil {
		return nil, err
	}
	l.paths[f] = path
	l.opened = append(l.opened, f)
	return f, nil
}

// chain opens a disk and all its parents for reading.
func (l *layers) chain(path string) (*vhdx.Chain, error) {
	leaf, err := l.open(path)
	if err != nil {
		return nil, err
	}
	c, err := vhdx.ResolveChain(leaf, l.resolve)
	if err != nil {
		return nil, errors.Join(err, leaf.Close())
	}
	return c, nil
}

// resolve is a vhdx.Resolver: a named file that fits, else the file in the child's own folder.
func (l *layers) resolve(child *vhdx.File) (*vhdx.File, error) {
	misfit, err := l.tryNamed(child)
	if err != nil || misfit.parent != nil {
		return misfit.parent, err
	}
	path, err := l.inFolder(child)
	if err != nil {
		return nil, errors.Join(misfit.reason, err) // shown as one line by fault
	}
	f, err := l.open(path)
	if err != nil {
		return nil, fmt.Errorf("the parent of %s: %w", l.path(child), err)
	}
	return f, l.fit(child, f)
}

// attempt is the outcome of going through the named files: a parent, or why there is none.
type attempt struct {
	parent *vhdx.File
	reason error
}

// tryNamed looks for the parent among the named files. The error is of a file that cannot be read.
func (l *layers) tryNamed(child *vhdx.File) (a attempt, err error) {
	for _, path := range l.named {
		if l.used[path] {
			continue
		}
		f, err := l.open(path)
		if err != nil {
			return a, err
		}
		fitErr := l.fit(child, f)
		switch {
		case fitErr == nil:
			l.used[path] = true
			return attempt{parent: f}, nil
		case !errors.Is(fitErr, vhdx.ErrChainMismatch):
			return a, fitErr
		case a.reason == nil:
			a.reason = fitErr
		}
	}
	return a, nil
}

// fit checks that parent is the one of child, and closes it if not.
func (l *layers) fit(child, parent *vhdx.File) error {
	_, err := vhdx.ResolveParent(child, func(*vhdx.File) (*vhdx.File, error) { return parent, nil }, nil)
	if err != nil {
		return fmt.Errorf("%s over %s: %w", l.path(child), l.path(parent), err)
	}
	return nil
}

// missingParent is the error of a parent that is nowhere.
type missingParent struct{ text string }

func (e *missingParent) Error() string { return e.text }

// Unwrap puts the error into its classes.
func (e *missingParent) Unwrap() []error { return []error{vhdx.ErrChainMismatch, fs.ErrNotExist} }

// inFolder returns the path of the file that child names as its parent, in the folder of child. Case of letters counts
// only when two names differ in nothing else, as on the file systems that the names come from.
func (l *layers) inFolder(child *vhdx.File) (string, error) {
	own, name := l.path(child), child.ParentName()
	if name == "" {
		return "", &missingParent{fmt.Sprintf("%s does not name the file of its parent", own)}
	}
	dir := filepath.Dir(own)
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range list {
		if strings.EqualFold(e.Name(), name) {
			return filepath.Join(dir, e.Name()), nil
		}
	}
	return "", &missingParent{fmt.Sprintf("the parent %q of %s is not in the folder %s", name, own, dir)}
}

// noteUnused tells of parents that were named in vain.
func (v *vhdxCall) noteUnused(l *layers) {
	for _, path := range l.named {
		if !l.used[path] {
			v.note("--parent %s is not in the chain and was not used", path)
		}
	}
}
