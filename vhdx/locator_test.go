package vhdx

import (
	"bytes"
	"context"
	"testing"
)

// TestLocatorSurrogates: entries that a change does not concern keep their bytes, also those that
// are not text: Windows accepts surrogates without a partner in names of files and folders.
func TestLocatorSurrogates(t *testing.T) {
	raw := [][2][]byte{
		{[]byte("k\x00\x3d\xd8"), []byte("\x00\xdea\x00\x3d\xd8")}, // two keys that differ in the surrogate only
		{[]byte("k\x00\x3e\xd8"), []byte("\x3d\xd8\x00\xde\x3d\xd8")},
	}
	for _, tc := range []struct {
		name   string
		change func(child, parent *File) error
	}{
		{"relink", func(child, _ *File) error { return Relink(child, &RelinkOptions{RelativePath: `.\other.vhdx`}) }},
		{"relink that needs room", func(child, _ *File) error {
			return Relink(child, &RelinkOptions{AbsolutePath: `C:\` + string(bytes.Repeat([]byte("x"), 9000))})
		}},
		{"merge", func(child, parent *File) error { return Merge(context.Background(), child, parent, nil) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, m := odd(t, raw)
			parent, child := openMem(t, base, true), openMem(t, m, true)
			must(t, tc.change(child, parent))
			must(t, child.Close())
			must(t, parent.Close())
			f := openMem(t, m, false)
			_, it, err := f.metadataEntry(itemParentLocator, false)
			must(t, err)
			b, err := f.MetadataItem(it)
			must(t, err)
			found := 0
			for i := range int(le.Uint16(b[18:])) {
				e := b[locatorHeader+i*locatorEntry:]
				key := b[le.Uint32(e):][:le.Uint16(e[8:])]
				value := b[le.Uint32(e[4:]):][:le.Uint16(e[10:])]
				for _, kv := range raw {
					if bytes.Equal(key, kv[0]) && bytes.Equal(value, kv[1]) {
						found++
					}
				}
			}
			if found != len(raw) {
				t.Errorf("%d of %d entries kept their bytes: %q", found, len(raw), f.Metadata().ParentLocator.Entries)
			}
		})
	}
}

// odd makes a base and a child whose locator has further entries of these bytes, which do not pass
// through the package's own strings.
func odd(t *testing.T, entries [][2][]byte) (base, child *memFile) {
	t.Helper()
	base = sound(t)
	child = createMem(t, &CreateOptions{Kind: Differencing, Parent: openMem(t, base, false), BlockSize: mib, ParentPath: "p"})
	f := openMem(t, child, true)
	l := f.Metadata().ParentLocator
	for i, kv := range entries { // text of the same length, to be overwritten
		l.Set(string(bytes.Repeat([]byte{'0' + byte(i)}, len(kv[0])/2)), string(bytes.Repeat([]byte("v"), len(kv[1])/2)))
	}
	must(t, f.setLocator(l, false))
	must(t, f.Close())
	f = openMem(t, child, false)
	_, it, err := f.metadataEntry(itemParentLocator, false)
	must(t, err)
	b, err := f.MetadataItem(it)
	must(t, err)
	r, _ := f.Regions().Find(RegionMetadata)
	n := int(le.Uint16(b[18:]))
	for i, kv := range entries {
		e := b[locatorHeader+(n-len(entries)+i)*locatorEntry:]
		child.WriteAt(kv[0], r.Offset+it.Offset+int64(le.Uint32(e)))
		child.WriteAt(kv[1], r.Offset+it.Offset+int64(le.Uint32(e[4:])))
	}
	return base, child
}
