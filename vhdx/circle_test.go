package vhdx

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// circle makes differencing disks in a folder, each the parent of the one before it and the first
// one that of the last, and returns their paths.
func circle(t *testing.T, n int) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	base, err := Create(filepath.Join(dir, "base.vhdx"), &CreateOptions{Size: 4 * mib, BlockSize: mib})
	must(t, err)
	defer base.Close()
	ids := make([]GUID, n)
	for i := range n {
		path := filepath.Join(dir, string(rune('a'+i))+".vhdx")
		f, err := Create(path, &CreateOptions{Kind: Differencing, Parent: base, BlockSize: mib})
		must(t, err)
		ids[i] = f.Header().DataWriteGUID
		must(t, f.Close())
		paths = append(paths, path)
	}
	for i, path := range paths {
		f, err := Open(path, &OpenOptions{Writable: true})
		must(t, err)
		l, next := f.Metadata().ParentLocator, (i+1)%n
		l.Set(KeyParentLinkage, bracedGUID(ids[next]))
		l.Set(KeyRelativePath, `.\`+filepath.Base(paths[next]))
		must(t, f.setLocator(l, false))
		must(t, f.Close())
	}
	return paths
}

// TestCircle: a disk that stands on itself, at any distance, is not opened and not merged, and no
// file of it is changed.
func TestCircle(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files int
		link  func(t *testing.T, paths []string) []string // other names for the files
	}{
		{"itself", 1, nil},
		{"itself by another path", 1, func(t *testing.T, paths []string) []string {
			link := filepath.Join(t.TempDir(), "link.vhdx")
			must(t, os.Link(paths[0], link))
			return append(paths, link)
		}},
		{"itself by a copy", 1, func(t *testing.T, paths []string) []string {
			other := filepath.Join(t.TempDir(), "copy.vhdx")
			b, err := os.ReadFile(paths[0])
			must(t, err)
			must(t, os.WriteFile(other, b, 0o644))
			return append(paths, other)
		}},
		{"two", 2, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			paths := circle(t, tc.files)
			if tc.link != nil {
				paths = tc.link(t, paths)
			}
			before := contents(t, paths)
			p := &Parents{Named: paths[1:]}
			if c, err := OpenChain(paths[0], &ChainOptions{Parents: p}); !errors.Is(err, ErrChainMismatch) || c != nil {
				t.Errorf("OpenChain: %v", err)
			}
			if n := len(p.Found()); n > 3 {
				t.Errorf("the circle was seen after %d files", n)
			}
			child, err := Open(paths[0], &OpenOptions{Writable: true})
			must(t, err)
			parent, err := Open(paths[len(paths)-1], &OpenOptions{Writable: true})
			must(t, err)
			if err := Merge(context.Background(), child, parent, nil); !errors.Is(err, ErrChainMismatch) {
				t.Errorf("Merge: %v", err)
			}
			must(t, child.Close())
			must(t, parent.Close())
			if !slices.Equal(contents(t, paths), before) {
				t.Error("a file was changed")
			}
		})
	}
}

// TestCircleOfStorages: storages have no paths, their GUIDs tell that they are one.
func TestCircleOfStorages(t *testing.T) {
	base := openMem(t, sound(t), false)
	m := createMem(t, &CreateOptions{Kind: Differencing, Parent: base, BlockSize: mib})
	f := openMem(t, m, true)
	l := f.Metadata().ParentLocator
	l.Set(KeyParentLinkage, bracedGUID(f.Header().DataWriteGUID))
	must(t, f.setLocator(l, false))
	must(t, f.Close())
	a, b := openMem(t, m, true), openMem(t, m, true)
	before := m.clone()
	for name, err := range map[string]error{
		"merge":        Merge(context.Background(), a, b, nil),
		"merge of one": Merge(context.Background(), a, a, nil),
		"relink":       Relink(a, &RelinkOptions{Parent: b, IgnoreMismatch: true}),
		"ResolveChain": errorOf(ResolveChain(a, func(*File) (*File, error) { return openMem(t, m, false), nil })),
		"NewChain":     errorOf(NewChain(a, b, base)),
	} {
		if !errors.Is(err, ErrChainMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !sameFile(before, m) {
		t.Error("the file was changed")
	}
}

func errorOf[T any](_ T, err error) error { return err }

func contents(t *testing.T, paths []string) (list []string) {
	t.Helper()
	for _, path := range paths {
		b, err := os.ReadFile(path)
		must(t, err)
		list = append(list, string(b))
	}
	return list
}
