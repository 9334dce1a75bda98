package secureboot

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"troy/internal/testing/efiprogram"
	"troy/internal/testing/needs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestParse(t *testing.T) {
	const file = 10<<48 | 26100<<16 | 1041
	for name, c := range map[string]struct {
		o    efiprogram.Options
		want Version
		text string
	}{
		"nothing": {efiprogram.Options{}, Version{}, "without a version"},
		"SVN":     {efiprogram.Options{SVN: 7 << 16, CA: CA2023}, Version{SVN: 7 << 16}, "0.0.0.0, security version 7.0"},
		"file":    {efiprogram.Options{File: file, CA: PCA2011}, Version{File: file}, "10.0.26100.1041"},
		"both":    {efiprogram.Options{SVN: 2<<16 | 1, File: file}, Version{SVN: 2<<16 | 1, File: file}, "10.0.26100.1041, security version 2.1"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Parse(efiprogram.Make(c.o))
			must(t, err)
			if p.Version != c.want || p.Version.String() != c.text || p.Damaged {
				t.Errorf("version %+v (%s), damaged %t; want %+v (%s)", p.Version, p.Version, p.Damaged, c.want, c.text)
			}
			if c.o.CA != "" && (len(p.Signers) != 1 || !slices.Equal(p.Signers[0], []string{c.o.CA})) {
				t.Errorf("signers %q, want %s", p.Signers, c.o.CA)
			}
		})
	}
}

// One changed byte makes a signed program a damaged one, which has no version.
func TestParseDamaged(t *testing.T) {
	b := efiprogram.Make(efiprogram.Options{SVN: 9 << 16, CA: CA2023, Body: make([]byte, 1000)})
	b[0x500] ^= 1
	p, err := Parse(b)
	if err != nil || !p.Damaged || p.Version != (Version{}) {
		t.Errorf("%+v, %v", p, err)
	}
	if err := (&Firmware{On: true, CAs: []CA{{Name: CA2023}}}).Refuses(p); !errors.Is(err, ErrRefused) {
		t.Errorf("it is said to start: %v", err)
	}
}

func TestVersionCompare(t *testing.T) {
	order := []Version{{}, {File: 1}, {File: 2}, {SVN: 1, File: 1}, {SVN: 1, File: 3}, {SVN: 1 << 16}, {SVN: 2 << 16}}
	for i, v := range order {
		for j, w := range order {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := v.Compare(w); got != want {
				t.Errorf("Compare(%+v, %+v) = %d, want %d", v, w, got, want)
			}
		}
	}
}

// loader reads one of Debian's boot loaders.
func loader(t testing.TB, name string) []byte {
	t.Helper()
	needs.Downloads(t)
	b, err := os.ReadFile(filepath.Join(os.Getenv("TROY_CACHE"), "loaders", "usr", "lib", name))
	must(t, err)
	return b
}

// What Microsoft signed: the hash that is computed is the one that was signed, and the issuers are
// those of the certificates that firmware has.
func TestParseReal(t *testing.T) {
	p, err := Parse(loader(t, "shim/shimx64.efi.signed"))
	must(t, err)
	if p.Damaged || len(p.Signers) == 0 || !slices.Contains(p.Signers[0], "Microsoft Corporation UEFI CA 2011") {
		t.Errorf("shim: damaged %t, signers %q", p.Damaged, p.Signers)
	}
	if i := slices.IndexFunc(p.SBAT, func(c Component) bool { return c.Name == "shim" }); i < 0 || p.SBAT[i].Generation < 4 {
		t.Errorf("shim: SBAT %v", p.SBAT)
	}
	g, err := Parse(loader(t, "grub/x86_64-efi-signed/grubx64.efi.signed"))
	must(t, err)
	if g.Damaged || len(g.Signers) != 1 || !slices.ContainsFunc(g.SBAT, func(c Component) bool { return c.Name == "grub.debian" }) {
		t.Errorf("GRUB: damaged %t, signers %q, SBAT %v", g.Damaged, g.Signers, g.SBAT)
	}
	firmware := realFirmware(t)
	if err := errors.Join(firmware.Refuses(p), firmware.ShimRefuses(p), firmware.ShimRefuses(g)); err != nil {
		t.Errorf("OVMF with Microsoft's keys is said to refuse what it starts: %v", err)
	}
	if err := firmware.Refuses(g); !errors.Is(err, ErrRefused) {
		t.Errorf("OVMF with Microsoft's keys is said to start what only shim starts: %v", err)
	}
	firmware.Level = "sbat,1,2030010100\nshim,99\n"
	if err := firmware.ShimRefuses(p); !errors.Is(err, ErrRefused) {
		t.Errorf("shim is said to start below the level of the machine: %v", err)
	}
}

// A resource as a compiler for Windows wrote it.
func TestParseRealVersion(t *testing.T) {
	needs.Downloads(t)
	found, err := filepath.Glob(filepath.Join(os.Getenv("TROY_CACHE"), "programs/wine/usr/lib/*/wine/x86_64-windows/bcrypt.dll"))
	must(t, err)
	if len(found) != 1 {
		t.Fatalf("found %q", found)
	}
	b, err := os.ReadFile(found[0])
	must(t, err)
	p, err := Parse(b)
	if err != nil || p.Version.String() != "6.0.6000.16386" {
		t.Errorf("%+v, %v", p, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(efiprogram.Make(efiprogram.Options{SVN: 7 << 16, File: 1, SBAT: "sbat,1\nshim,4\n", CA: CA2023}))
	f.Add(efiprogram.Make(efiprogram.Options{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if (p == nil) == (err == nil) || err != nil && !errors.Is(err, ErrProgram) {
			t.Fatalf("%v, %v", p, err)
		}
		if err == nil && p.Damaged && p.Version != (Version{}) {
			t.Fatal("a damaged program has a version")
		}
		for _, chain := range valid(p).Signers {
			if len(chain) == 0 || len(chain) > maxChain {
				t.Fatalf("a signature with %d issuers", len(chain))
			}
		}
	})
}

func valid(p *Program) *Program {
	if p == nil {
		return &Program{}
	}
	return p
}
