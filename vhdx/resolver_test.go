package vhdx

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestParents: parents are found among the named files, then in the child's own folder, and nowhere
// else.
func TestParents(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	want := pair(t, dir)
	base, child := filepath.Join(dir, "base.vhdx"), filepath.Join(dir, "child.vhdx")
	alone := filepath.Join(other, "child.vhdx")
	b, err := os.ReadFile(child)
	must(t, err)
	must(t, os.WriteFile(alone, b, 0o644))
	garbage := filepath.Join(other, "garbage")
	must(t, os.WriteFile(garbage, []byte("garbage"), 0o644))
	nowhere := filepath.Join(other, "nowhere")
	for _, tc := range []struct {
		name  string
		path  string
		named []string
		found string // the parent
		wants []error
		at    string // the file that is in the parent's place, of an error
	}{
		{name: "own folder", path: child, found: base},
		{name: "named", path: alone, named: []string{base}, found: base},
		{name: "named behind another", path: alone, named: []string{child, base}, found: base},
		{name: "another named, own folder", path: child, named: []string{alone}, found: base},
		{name: "nowhere", path: alone, wants: []error{ErrChainMismatch, fs.ErrNotExist}},
		{name: "another named", path: alone, named: []string{child}, wants: []error{ErrChainMismatch}, at: child},
		{name: "named file is not there", path: child, named: []string{nowhere, base}, wants: []error{fs.ErrNotExist}, at: nowhere},
		{name: "named file is no VHDX", path: child, named: []string{garbage, base}, wants: []error{ErrCorrupt}, at: garbage},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &Parents{Named: tc.named}
			c, err := OpenChain(tc.path, &ChainOptions{Parents: p})
			if tc.found != "" {
				must(t, err)
				defer c.Close()
				sameBytes(t, tc.name, readAll(t, c), want)
				if got := p.Found(); !slices.Equal(got, []string{tc.found}) || c.Files()[1].Path() != tc.found {
					t.Errorf("Found() = %q, want %s", got, tc.found)
				}
				return
			}
			for _, w := range tc.wants {
				if !errors.Is(err, w) {
					t.Errorf("%v, want %v", err, w)
				}
			}
			var pe *ParentError
			if !errors.As(err, &pe) || pe.Child != tc.path || pe.Path != tc.at || len(p.Found()) != 0 || !strings.Contains(err.Error(), pe.Child) {
				t.Errorf("%v (%+v), found %q; want a file in its place %q", err, pe, p.Found(), tc.at)
			}
		})
	}
	if _, err := OpenChain(child, nil); !errors.Is(err, ErrChainMismatch) {
		t.Errorf("a differencing disk without Parents: %v", err)
	}
}

// TestParentsInFolder: names of every form end up in the folder, in any case of letters.
func TestParentsInFolder(t *testing.T) {
	dir := t.TempDir()
	want := pair(t, dir)
	child := filepath.Join(dir, "child.vhdx")
	relink := func(path string) {
		f, err := Open(child, &OpenOptions{Writable: true})
		must(t, err)
		must(t, Relink(f, &RelinkOptions{RelativePath: path}))
		must(t, f.Close())
	}
	must(t, os.Rename(filepath.Join(dir, "base.vhdx"), filepath.Join(dir, "Base.VHDX")))
	for _, p := range []string{"base.vhdx", `.\base.vhdx`, `..\..\etc\base.vhdx`, `\\?\C:\x\base.vhdx`, `\\?\UNC\server\share\BASE.vhdx`, "./base.vhdx"} {
		t.Run(p, func(t *testing.T) {
			relink(p)
			c, err := OpenChain(child, &ChainOptions{Parents: &Parents{}})
			must(t, err)
			sameBytes(t, p, readAll(t, c), want)
			must(t, c.Close())
		})
	}
	for _, p := range []string{`..`, `a\..`, `\`, "x"} { // relative_path alone, and no file of that name
		t.Run(p, func(t *testing.T) {
			relink(p)
			_, err := OpenChain(child, &ChainOptions{Parents: &Parents{}})
			if !errors.Is(err, ErrChainMismatch) || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v", err)
			}
		})
	}
	// The file of that name is another disk, or none.
	relink("base.vhdx")
	for name, make := range map[string]func(path string){
		"another disk": func(path string) {
			f, err := Create(path, &CreateOptions{Size: 4 * mib, Overwrite: true})
			must(t, err)
			must(t, f.Close())
		},
		"no VHDX": func(path string) { must(t, os.WriteFile(path, nil, 0o644)) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, "Base.VHDX")
			make(path)
			_, err := OpenChain(child, &ChainOptions{Parents: &Parents{}})
			var pe *ParentError
			if !errors.As(err, &pe) || pe.Path != path || errors.Is(err, ErrChainMismatch) == errors.Is(err, ErrCorrupt) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestResolver: a Resolver decides alone; a child that was not opened by its path has no folder.
func TestResolver(t *testing.T) {
	a := openMem(t, sound(t), false)
	m := createMem(t, &CreateOptions{Kind: Differencing, Parent: a, ParentPath: "p"})
	child := openMem(t, m, false)
	for name, tc := range map[string]struct {
		resolve Resolver
		want    error
	}{
		"parent":  {func(*File) (*File, error) { return a, nil }, nil},
		"error":   {func(*File) (*File, error) { return nil, errBroken }, errBroken},
		"none":    {nil, ErrChainMismatch},
		"Parents": {new(Parents).Find, fs.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := ResolveChain(child, tc.resolve)
			if !errors.Is(err, tc.want) || (c == nil) != (tc.want != nil) {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
}
