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

// TestParentsStale: a name whose file is missing, or is not the parent, leads to the next one, in
// the order of MS-VHDX 2.6.2.6.3; only file names in the child's folder are looked at.
func TestParentsStale(t *testing.T) {
	const volume = `\\?\Volume{26a21bda-a627-11d7-9931-806e6f6e6963}\d\`
	elsewhere := t.TempDir()
	for _, tc := range []struct {
		name                       string
		relative, volume, absolute string
		found                      string // "": none
		at                         string // of an error: the file in the parent's place
	}{
		{name: "right absolute", relative: `.\gone.vhdx`, absolute: `C:\d\base.vhdx`, found: "base.vhdx"},
		{name: "right volume", relative: `.\gone.vhdx`, volume: volume + "base.vhdx", found: "base.vhdx"},
		{name: "right absolute alone", absolute: `C:\d\base.vhdx`, found: "base.vhdx"},
		{name: "volume before absolute", relative: `.\gone.vhdx`, volume: volume + "base.vhdx", absolute: `C:\d\copy.vhdx`, found: "base.vhdx"},
		{name: "absolute is the last", relative: `.\gone.vhdx`, volume: volume + "copy.vhdx", absolute: `C:\d\base.vhdx`, found: "copy.vhdx"},
		{name: "relative is another disk", relative: `.\other.vhdx`, absolute: `C:\d\base.vhdx`, found: "base.vhdx"},
		{name: "relative is no disk", relative: `.\text`, volume: volume + "base.vhdx", found: "base.vhdx"},
		{name: "relative is the child", relative: `.\child.vhdx`, volume: volume + "BASE.vhdx", found: "base.vhdx"},
		{name: "relative is a folder", relative: `..`, volume: volume + `\`, absolute: `C:\d\base.vhdx`, found: "base.vhdx"},
		{name: "two others", relative: `.\gone.vhdx`, volume: volume + "other.vhdx", absolute: `C:\d\text`, at: "other.vhdx"},
		{name: "none is there", relative: `.\gone.vhdx`, volume: volume + "gone.vhdx", absolute: `C:\d\lost.vhdx`},
		{name: "right path outside of the folder", relative: `.\gone.vhdx`, absolute: filepath.Join(elsewhere, "away.vhdx")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			want := pair(t, dir)
			in := func(name string) string { return filepath.Join(dir, name) }
			base, err := os.ReadFile(in("base.vhdx"))
			must(t, err)
			must(t, os.WriteFile(in("copy.vhdx"), base, 0o644))
			must(t, os.WriteFile(filepath.Join(elsewhere, "away.vhdx"), base, 0o644))
			must(t, os.WriteFile(in("text"), []byte("text"), 0o644))
			other, err := Create(in("other.vhdx"), &CreateOptions{Size: 4 * mib})
			must(t, err)
			must(t, other.Close())
			f, err := Open(in("child.vhdx"), &OpenOptions{Writable: true})
			must(t, err)
			l := f.Metadata().ParentLocator
			l.Set(KeyRelativePath, tc.relative)
			l.Set(KeyVolumePath, tc.volume)
			l.Set(KeyAbsoluteWin32Path, tc.absolute)
			must(t, f.setLocator(l, false))
			must(t, f.Close())
			c, err := OpenChain(in("child.vhdx"), &ChainOptions{Parents: &Parents{}})
			if tc.found != "" {
				must(t, err)
				defer c.Close()
				sameBytes(t, tc.name, readAll(t, c), want)
				if got := c.Files()[1].Path(); got != in(tc.found) {
					t.Errorf("found %s, want %s", got, tc.found)
				}
				return
			}
			var pe *ParentError
			if !errors.As(err, &pe) || !errors.Is(err, ErrChainMismatch) || errors.Is(err, fs.ErrNotExist) != (tc.at == "") {
				t.Fatalf("%v", err)
			}
			if tc.at != "" && pe.Path != in(tc.at) {
				t.Errorf("%v is about %q, want %s", err, pe.Path, tc.at)
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
