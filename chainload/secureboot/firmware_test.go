package secureboot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"troy/internal/guid"
	"troy/internal/testing/efiprogram"
)

// variable is one of efivarfs: attributes, then the data.
func variable(data ...[]byte) *fstest.MapFile {
	return &fstest.MapFile{Data: append([]byte{0x27, 0, 0, 0}, bytes.Join(data, nil)...)}
}

func secureBoot(on byte) *fstest.MapFile { return &fstest.MapFile{Data: []byte{6, 0, 0, 0, on}} }

func TestRead(t *testing.T) {
	hashes := efiprogram.List(typeSHA256, 0, make([]byte, 32), bytes.Repeat([]byte{2}, 32), efiprogram.SVN(7), efiprogram.SVN(3))
	revoked := append(make([]byte, 32), 0xe8, 7, 3, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // 2024-03-09
	old, newer := efiprogram.CA(PCA2011), efiprogram.List(typeX509, 8, efiprogram.Certificate(CA2023, CA2023))
	odd := efiprogram.List(typeX509, 0, []byte("not a certificate"))
	for name, c := range map[string]struct {
		vars             fstest.MapFS
		on, pca11, ca23  bool
		svn              SVN
		forbidden, level string
		err              error
	}{
		"no variables": {vars: fstest.MapFS{}},
		"both":         {vars: fstest.MapFS{variableSecureBoot: secureBoot(1), variableDB: variable(old, odd, newer)}, on: true, pca11: true, ca23: true},
		"off":          {vars: fstest.MapFS{variableSecureBoot: secureBoot(0), variableDB: variable(hashes, old)}, pca11: true},
		"revoked":      {vars: fstest.MapFS{variableSecureBoot: secureBoot(1), variableDB: variable(old, newer), variableDBX: variable(hashes, old)}, on: true, ca23: true, svn: 7 << 16},
		"level":        {vars: fstest.MapFS{variableSBAT: variable([]byte("sbat,1,2024010900\nshim,4\n"))}, level: "sbat,1,2024010900\nshim,4\n"},
		"cut off":      {vars: fstest.MapFS{variableDB: variable(old[:len(old)-1])}, err: ErrSignatures},
		"rest":         {vars: fstest.MapFS{variableDBX: variable(old, []byte{1}), variableDB: variable(newer)}, ca23: true, err: ErrSignatures},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Read(c.vars)
			if !errors.Is(err, c.err) || f.On != c.on || f.Trusts(PCA2011) != c.pca11 || f.Trusts(CA2023) != c.ca23 || f.SVN != c.svn || f.Level != c.level {
				t.Errorf("Read = %+v, %v", f, err)
			}
		})
	}
	f, err := Read(fstest.MapFS{variableDBX: variable(efiprogram.List(typeX509SHA256, 0, revoked))})
	if want := time.Date(2024, 3, 9, 0, 0, 0, 0, time.UTC); err != nil || !f.DBXTime.Equal(want) || f.DBX.String() == strings.Repeat("0", 64) {
		t.Errorf("dbx of %v with hash %s, %v; want %v", f.DBXTime, f.DBX, err, want)
	}
}

// Each of what the firmware goes by changes its digest.
func TestDigest(t *testing.T) {
	seen := map[string]string{}
	for name, vars := range map[string]fstest.MapFS{
		"nothing": {}, "on": {variableSecureBoot: secureBoot(1)},
		"db":  {variableDB: variable(efiprogram.List(typeSHA256, 0, make([]byte, 32)))},
		"dbx": {variableDBX: variable(efiprogram.List(typeSHA256, 0, make([]byte, 32)))},
	} {
		f, err := Read(vars)
		must(t, err)
		if other, ok := seen[f.Digest.String()]; ok {
			t.Errorf("%s and %s have the same digest", name, other)
		}
		seen[f.Digest.String()] = name
	}
}

func TestRefuses(t *testing.T) {
	manager := func(o efiprogram.Options) *Program {
		p, err := Parse(efiprogram.Make(o))
		must(t, err)
		return p
	}
	old, newer := manager(efiprogram.Options{SVN: 2 << 16, CA: PCA2011}), manager(efiprogram.Options{SVN: 7 << 16, CA: CA2023})
	shim := manager(efiprogram.Options{CA: CA2023, SBAT: "sbat,1,x\nshim,4,y\n"})
	hash := func(p *Program) []byte { return efiprogram.List(typeSHA256, 0, p.Hash[:]) }
	pca, ca := efiprogram.CA(PCA2011), efiprogram.CA(CA2023)
	for name, c := range map[string]struct {
		p    *Program
		db   []byte
		dbx  []byte
		want string // "" = it starts
	}{
		"2011":              {p: old, db: pca},
		"2023":              {p: newer, db: ca},
		"not in db":         {p: newer, db: pca, want: "signed under Windows UEFI CA 2023, which db does not hold"},
		"its hash in db":    {p: newer, db: hash(newer)},
		"CA revoked":        {p: old, db: pca, dbx: pca, want: "dbx revokes Microsoft Windows Production PCA 2011"},
		"hash revoked":      {p: newer, db: ca, dbx: hash(newer), want: "by its hash"},
		"SVN too low":       {p: old, db: pca, dbx: efiprogram.List(typeSHA256, 0, efiprogram.SVN(7)), want: "security version is 2.0, the least that dbx allows is 7.0"},
		"SVN just enough":   {p: newer, db: ca, dbx: efiprogram.List(typeSHA256, 0, efiprogram.SVN(7))},
		"a shim has no SVN": {p: shim, db: ca, dbx: efiprogram.List(typeSHA256, 0, efiprogram.SVN(7))},
		"not signed":        {p: manager(efiprogram.Options{}), db: ca, want: "not signed"},
		"no program":        {db: ca, want: "not an EFI program"},
	} {
		t.Run(name, func(t *testing.T) {
			vars := fstest.MapFS{variableDB: variable(c.db), variableDBX: variable(c.dbx), variableSecureBoot: secureBoot(1)}
			f, err := Read(vars)
			must(t, err)
			err = f.Refuses(c.p)
			if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("Refuses = %v, want %q", err, c.want)
			}
			if f.On = false; f.Refuses(c.p) != nil {
				t.Error("it is refused while Secure Boot is off")
			}
		})
	}
}

func TestShimRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		level, sbat, want string
	}{
		"no level":         {"", "sbat,1,x\ngrub,1,y\n", ""},
		"enough":           {"sbat,1,2024010900\nshim,4\ngrub,3\n", "sbat,1,x\ngrub,3,Free Software Foundation\n", ""},
		"below":            {"sbat,1,2025021800\ngrub,5\n", "sbat,1,x\ngrub,3,y\ngrub.debian,4,z\n", "generation of grub is 3, the machine's level is 5"},
		"a part of it":     {"sbat,1,2025021800\ngrub.debian,5\n", "sbat,1,x\ngrub,5,y\ngrub.debian,4,z\n", "grub.debian is 4"},
		"others' names":    {"sbat,1,2025021800\ngrub.peimage,2\n", "sbat,1,x\ngrub,3,y\n", ""},
		"no section":       {"sbat,1,2024010900\n", "", "no section .sbat"},
		"lines of rubbish": {"\n,,\nsbat\ngrub,x\ngrub,4\x00\x00", "sbat,1,x\ngrub,3,y\n\x00", "grub is 3"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Parse(efiprogram.Make(efiprogram.Options{SBAT: c.sbat}))
			must(t, err)
			err = (&Firmware{On: true, Level: c.level}).ShimRefuses(p)
			if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("ShimRefuses = %v, want %q", err, c.want)
			}
		})
	}
}

// realFirmware has the keys of Microsoft, out of the variables that come with OVMF.
func realFirmware(t *testing.T) *Firmware {
	t.Helper()
	b, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.ms.fd")
	must(t, err)
	f, err := Read(fstest.MapFS{variableSecureBoot: secureBoot(1), variableDB: variable(ovmfVariable(t, b, "db")), variableDBX: variable(ovmfVariable(t, b, "dbx"))})
	must(t, err)
	return f
}

func TestRealDB(t *testing.T) {
	if f := realFirmware(t); !f.Trusts(PCA2011) || !f.Trusts("Microsoft Corporation UEFI CA 2011") || len(f.Revoked) > 0 {
		t.Errorf("%+v", f)
	}
}

// ovmfVariable finds an authenticated variable in a store of EDK2 (AUTHENTICATED_VARIABLE_HEADER:
// sizes of name and data, vendor, name, data).
func ovmfVariable(t *testing.T, store []byte, name string) []byte {
	t.Helper()
	vendor, err := guid.Parse("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
	must(t, err)
	key := bytes.Clone(vendor[:])
	for _, c := range name + "\x00" {
		key = append(key, byte(c), 0)
	}
	at := bytes.Index(store, key)
	if at < 8 {
		t.Fatalf("no variable %s", name)
	}
	size := int(binary.LittleEndian.Uint32(store[at-4:]))
	return store[at+len(key):][:size]
}

func FuzzParseSignatures(f *testing.F) {
	f.Add(efiprogram.List(typeX509, 0, []byte("one"), []byte("two")))
	f.Add(append(efiprogram.List(typeX509, 4, make([]byte, 32)), efiprogram.List(typeX509, 0, []byte{1})...))
	f.Add(efiprogram.CA(CA2023)[:60])
	f.Add(efiprogram.List(typeSHA256, 0, efiprogram.SVN(7)))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseSignatures(b)
		if err != nil && (all != nil || !errors.Is(err, ErrSignatures)) {
			t.Fatalf("%d, %v", len(all), err)
		}
		n := 0
		for _, s := range all {
			n += 16 + len(s.data)
		}
		if n > len(b) {
			t.Fatalf("%d bytes of signatures in %d", n, len(b))
		}
		if _, err := Read(fstest.MapFS{variableDB: variable(b), variableDBX: variable(b)}); err != nil && !errors.Is(err, ErrSignatures) {
			t.Fatal(err)
		}
	})
}
