package bootfiles

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"troy/chainload/secureboot"
	"troy/internal/digest"
	"troy/internal/testing/efiprogram"
)

const managerPath = "EFI/Microsoft/Boot/bootmgfw.efi"

// setOf makes a set of a boot manager and two other files.
func setOf(f *secureboot.Firmware, program []byte) *Set {
	s := &Set{firmware: f, manager: parse(program), Files: []File{
		{fallback, program}, {managerPath, program}, {"EFI/Microsoft/Boot/bootmgr.efi", []byte("ours")}, {"EFI/Microsoft/Boot/Fonts/a.ttf", []byte("ours")},
	}}
	s.refused = f.Refuses(s.manager)
	return s
}

func write(t *testing.T, root, name string, b []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755))
	must(t, os.WriteFile(filepath.Join(root, name), b, 0o644))
}

// A boot manager on the ESP is not replaced by an older one, but where this machine starts only
// that one, or the version that brought the newer one was given up.
func TestOnlyForward(t *testing.T) {
	const pca, ca = secureboot.PCA2011, secureboot.CA2023
	manager := func(svn uint32, file uint64, ca string) []byte {
		return efiprogram.Make(efiprogram.Options{SVN: svn << 16, File: file, CA: ca, Body: []byte(ca)})
	}
	old, newer := manager(2, 5, pca), manager(7, 6, ca)
	damaged := bytes.Clone(newer)
	damaged[0x405] ^= 1
	off := &secureboot.Firmware{}
	both, factory := firmware([]string{pca, ca}), firmware([]string{pca})
	const replaced, stays = "replaced", "stays"
	for name, c := range map[string]struct {
		there, ours []byte
		f           *secureboot.Firmware
		givenUp     bool
		want        string
		err         error
	}{
		"forward":                               {old, newer, both, false, replaced, nil},
		"back":                                  {newer, old, both, false, stays, nil},
		"back, Secure Boot off":                 {newer, old, off, false, stays, nil},
		"back by the file version":              {manager(2, 6, pca), old, both, false, stays, nil},
		"back, neither tells a version":         {[]byte("MZ two"), []byte("MZ one"), off, false, replaced, nil},
		"what is there is no program":           {[]byte("text"), old, both, false, replaced, nil},
		"what is there is damaged":              {damaged, old, off, false, replaced, nil},
		"ours tells no version":                 {newer, []byte("MZ one"), off, false, stays, nil},
		"keys reset to factory":                 {newer, old, factory, false, replaced, nil},
		"dbx wants the newer one":               {newer, old, svn(both, 7), false, stays, nil},
		"dbx wants a newer one, ours is":        {old, newer, svn(both, 7), false, replaced, nil},
		"neither starts":                        {old, manager(3, 6, pca), svn(both, 7), false, "", ErrNotTrusted},
		"neither starts, that there is newer":   {manager(3, 6, pca), old, svn(both, 7), false, "", ErrNotTrusted},
		"nothing there, ours does not start":    {nil, old, svn(both, 7), false, "", ErrNotTrusted},
		"given up":                              {newer, old, both, true, replaced, nil},
		"given up, Secure Boot off":             {newer, old, off, true, replaced, nil},
		"given up, but dbx refuses ours":        {newer, old, svn(both, 7), true, stays, nil},
		"given up, Secure Boot off, dbx raised": {newer, old, svn(off, 7), true, stays, nil},
		"equal versions":                        {manager(2, 5, ca), old, both, false, replaced, nil},
	} {
		t.Run(name, func(t *testing.T) {
			root, s := t.TempDir(), setOf(c.f, c.ours)
			if c.there != nil {
				write(t, root, managerPath, c.there)
				write(t, root, fallback, c.there)
				write(t, root, "EFI/Microsoft/Boot/bootmgr.efi", []byte("theirs"))
			}
			var back digest.Sum
			if c.givenUp {
				back = digest.Sum(sha256.Sum256(c.there))
			}
			change, err := s.Compare(t.Context(), root, back)
			if !errors.Is(err, c.err) || err == nil && (change.Newer() != "") != (c.want == stays) {
				t.Fatalf("%+v, %v", change, err)
			}
			if c.err != nil {
				return
			}
			sum, ok := change.Manager()
			if ok != (c.want == replaced) || ok && sum != digest.Sum(sha256.Sum256(c.ours)) {
				t.Errorf("the boot manager is written: %t, %s", ok, sum)
			}
			_, err = change.Apply(t.Context())
			must(t, err)
			program, other := c.ours, []byte("ours")
			if c.want == stays {
				program, other = c.there, []byte("theirs")
			}
			must(t, same(tree(t, root), map[string][]byte{managerPath: program, fallback: program,
				"EFI/Microsoft/Boot/bootmgr.efi": other, "EFI/Microsoft/Boot/Fonts/a.ttf": []byte("ours")}))
			if change, err = s.Compare(t.Context(), root, back); err != nil || change.Needed() {
				t.Errorf("once more: %+v, %v", change, err)
			}
		})
	}
}

// Beside a boot manager that stays, the file that firmware starts without a boot entry is that one.
func TestFallbackBesideNewer(t *testing.T) {
	const ca = secureboot.CA2023
	manager := func(svn uint32) []byte { return efiprogram.Make(efiprogram.Options{SVN: svn << 16, CA: ca}) }
	older, there, newest := manager(2), manager(7), manager(9)
	for name, c := range map[string]struct{ have, want []byte }{
		"missing": {nil, there}, "older": {older, there}, "torn": {[]byte("MZ"), there}, "newer still": {newest, newest},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, managerPath, there)
			if c.have != nil {
				write(t, root, fallback, c.have)
			}
			_, err := install(t.Context(), setOf(&secureboot.Firmware{}, older), root)
			must(t, err)
			if b := tree(t, root); !bytes.Equal(b[fallback], c.want) || !bytes.Equal(b[managerPath], there) {
				t.Errorf("it is another one: %t", !bytes.Equal(b[fallback], c.want))
			}
		})
	}
}

// The newer boot manager of a disk that is erased goes to the new ESP, also when the power is cut
// before the version is there.
func TestCarry(t *testing.T) {
	const ca = secureboot.CA2023
	old := efiprogram.Make(efiprogram.Options{SVN: 2 << 16, CA: ca})
	newer := efiprogram.Make(efiprogram.Options{SVN: 7 << 16, CA: ca})
	for name, c := range map[string]struct {
		there, ours []byte
		f           *secureboot.Firmware
		want        []byte // of the two; nil: nothing starts
	}{
		"newer":             {newer, old, &secureboot.Firmware{}, newer},
		"older":             {old, newer, &secureboot.Firmware{}, newer},
		"none":              {nil, old, &secureboot.Firmware{}, old},
		"ours is refused":   {newer, old, svn(firmware([]string{ca}), 7), newer},
		"both are refused":  {old, old, svn(firmware([]string{ca}), 7), nil},
		"theirs is refused": {newer, old, firmware([]string{"another"}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			before, after, s := t.TempDir(), t.TempDir(), setOf(c.f, c.ours)
			if c.there != nil {
				write(t, before, managerPath, c.there)
			}
			carried, yes, err := s.Carry(before)
			must(t, err)
			if (carried.Starts() == nil) != (c.want != nil) || yes != (c.want != nil && !bytes.Equal(c.want, c.ours)) {
				t.Fatalf("carried %t, it starts: %v", yes, carried.Starts())
			}
			if c.want == nil {
				return
			}
			if yes {
				must(t, carried.Stash(after))
			}
			_, err = install(t.Context(), s, after) // of a later start, which knows nothing of the old ESP
			must(t, err)
			must(t, same(tree(t, after), map[string][]byte{managerPath: c.want, fallback: c.want,
				"EFI/Microsoft/Boot/bootmgr.efi": []byte("ours"), "EFI/Microsoft/Boot/Fonts/a.ttf": []byte("ours")}))
		})
	}
}

// What an earlier call left behind is removed also when nothing else is to be done.
func TestLeftover(t *testing.T) {
	root, s := t.TempDir(), setOf(&secureboot.Firmware{}, signed(secureboot.PCA2011))
	_, err := install(t.Context(), s, root)
	must(t, err)
	write(t, root, managerPath+suffixNew, []byte("half"))
	write(t, root, stash, []byte("MZ"))
	c, err := s.Compare(t.Context(), root, digest.Sum{})
	if err != nil || !c.Needed() {
		t.Fatalf("%+v, %v", c, err)
	}
	_, err = c.Apply(t.Context())
	must(t, err)
	if files := tree(t, root); len(files) != 4 {
		t.Errorf("%d files", len(files))
	}
}

// The state changes with each boot file, and not with what Windows writes at each start.
func TestState(t *testing.T) {
	root, s := t.TempDir(), setOf(&secureboot.Firmware{}, signed(secureboot.PCA2011))
	empty, err := State(root)
	must(t, err)
	_, err = install(t.Context(), s, root)
	must(t, err)
	last, err := State(root)
	must(t, err)
	if last == empty {
		t.Error("an ESP with boot files is as one without")
	}
	clock := time.Now()
	for _, c := range []struct {
		what    string
		do      func()
		changes bool
	}{
		{"nothing", func() {}, false},
		{"the store", func() { write(t, root, "EFI/Microsoft/Boot/BCD", []byte("store")) }, false},
		{"its log", func() { write(t, root, "EFI/Microsoft/Boot/BCD.LOG1", []byte("log")) }, false},
		{"the record of starts", func() { write(t, root, "EFI/Microsoft/Boot/bootstat.dat", []byte("1")) }, false},
		{"another vendor", func() { write(t, root, "EFI/debian/shimx64.efi", []byte("shim")) }, false},
		{"the manager, of the same size and time", func() {
			name := filepath.Join(root, managerPath)
			info, err := os.Stat(name)
			must(t, err)
			b := bytes.Clone(signed(secureboot.PCA2011))
			b[len(b)/2] ^= 1
			write(t, root, managerPath, b)
			must(t, os.Chtimes(name, time.Time{}, info.ModTime()))
		}, true},
		{"a font", func() { write(t, root, "EFI/Microsoft/Boot/Fonts/a.ttf", []byte("another")) }, true},
		{"the time of a font", func() {
			must(t, os.Chtimes(filepath.Join(root, "EFI/Microsoft/Boot/Fonts/a.ttf"), clock, clock.Add(time.Hour)))
		}, true},
		{"the fallback", func() { must(t, os.Remove(filepath.Join(root, fallback))) }, true},
		{"half a file", func() { write(t, root, managerPath+suffixNew, []byte("half")) }, true},
	} {
		c.do()
		now, err := State(root)
		must(t, err)
		if (now != last) != c.changes {
			t.Errorf("%s: the state changed: %t", c.what, now != last)
		}
		last = now
	}
	n := Note{Version: "lab@1", Firmware: digest.Sum{1}, ESP: last}
	if !n.Holds("lab@1", digest.Sum{1}, last) || n.Holds("lab@2", digest.Sum{1}, last) || n.Holds("lab@1", digest.Sum{2}, last) ||
		n.Holds("lab@1", digest.Sum{1}, empty) || (&Note{}).Holds("", digest.Sum{}, digest.Sum{}) {
		t.Error("a note holds for another version, firmware or ESP")
	}
}
