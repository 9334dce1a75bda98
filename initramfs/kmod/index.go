package kmod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNotFound says that a module is neither in the folder nor built into the
// kernel. [MissingError] names it.
var ErrNotFound = errors.New("kernel module not found")

// MissingError is the module that was not found, and who asked for it.
type MissingError struct {
	Name string // the module
	By   string // the module that depends on it; empty: the caller named it
	Dir  string // the folder that was searched
}

// Error names the module, who needs it, and where it was looked for.
func (e *MissingError) Error() string {
	by := ""
	if e.By != "" {
		by = ", needed by " + e.By
	}
	return fmt.Sprintf("kernel module %s%s is not in %s", e.Name, by, e.Dir)
}

// Unwrap returns [ErrNotFound].
func (e *MissingError) Unwrap() error { return ErrNotFound }

// Index knows the modules of one lib/modules/VERSION folder.
type Index struct {
	dir     string
	files   map[string]string // module name → path in dir, with compression suffix
	builtin map[string]bool
	modules map[string]*Module // those read so far
}

// Open indexes the folder dir, which may be a symbolic link. No module is read yet.
func Open(dir string) (*Index, error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("kernel modules: %w", err)
	}
	x := &Index{dir: real, files: map[string]string{}, builtin: map[string]bool{}, modules: map[string]*Module{}}
	err = filepath.WalkDir(filepath.Join(real, "kernel"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !isModule(p) {
			return err
		}
		rel, err := filepath.Rel(real, p)
		x.files[moduleName(p)] = rel
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("kernel modules: %w", err)
	}
	if len(x.files) == 0 {
		return nil, fmt.Errorf("kernel modules: no module below %s/kernel: %w", dir, ErrNotFound)
	}
	return x, x.readBuiltin()
}

func (x *Index) readBuiltin() error {
	b, err := os.ReadFile(filepath.Join(x.dir, "modules.builtin"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kernel modules: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		x.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	return nil
}

// Has tells whether the folder holds a module of that name.
func (x *Index) Has(name string) bool { _, ok := x.files[canonical(name)]; return ok }

// isBuiltin tells whether the kernel has that module built in.
func (x *Index) isBuiltin(name string) bool { return x.builtin[canonical(name)] }

// module reads the module of that name; '-' and '_' are alike.
// The error is a [MissingError] if there is none.
func (x *Index) module(name string) (*Module, error) {
	name = canonical(name)
	if m := x.modules[name]; m != nil {
		return m, nil
	}
	rel, ok := x.files[name]
	if !ok {
		return nil, &MissingError{Name: name, Dir: x.dir}
	}
	data, err := readModule(filepath.Join(x.dir, rel))
	if err != nil {
		return nil, fmt.Errorf("kernel module %s: %w", rel, err)
	}
	m, err := newModule(name, trimCompression(filepath.ToSlash(rel)), data)
	if err != nil {
		return nil, fmt.Errorf("kernel module %s: %w", rel, err)
	}
	x.modules[name] = m
	return m, nil
}

// Closure returns the named modules and all that they depend on, in an order in
// which they can be loaded. Names of built-in modules are passed over.
// The error is a [MissingError] if a module or a hard dependency is absent.
func (x *Index) Closure(names ...string) ([]*Module, error) {
	w := walk{index: x, state: map[string]int{}}
	sorted := slices.Sorted(slices.Values(names))
	for _, n := range sorted {
		if err := w.visit(canonical(n), "", false); err != nil {
			return nil, err
		}
	}
	return w.order, nil
}

// walk is one depth-first walk over the dependencies.
type walk struct {
	index *Index
	state map[string]int // 1 being visited, 2 done
	order []*Module
}

func (w *walk) visit(name, by string, soft bool) error {
	if w.state[name] != 0 || w.index.isBuiltin(name) {
		return nil // a cycle can only be one of soft dependencies: either order will do
	}
	m, err := w.index.module(name)
	var missing *MissingError
	if errors.As(err, &missing) {
		if soft {
			return nil
		}
		missing.By = by
	}
	if err != nil {
		return err
	}
	w.state[name] = 1
	for _, d := range m.SoftPre {
		if err := w.visit(d, name, true); err != nil {
			return err
		}
	}
	for _, d := range m.Depends {
		if err := w.visit(d, name, false); err != nil {
			return err
		}
	}
	w.state[name] = 2
	w.order = append(w.order, m)
	return nil
}

// canonical is the name under which the kernel lists a module.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

func isModule(p string) bool { return strings.HasSuffix(trimCompression(p), ".ko") }

func moduleName(p string) string {
	return canonical(strings.TrimSuffix(path.Base(trimCompression(p)), ".ko"))
}

func trimCompression(p string) string {
	for _, s := range []string{".xz", ".zst", ".gz"} {
		p = strings.TrimSuffix(p, s)
	}
	return p
}
