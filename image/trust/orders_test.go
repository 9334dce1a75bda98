package trust_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/chainload/release"
	"troy/image"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/testing/trusttest"
)

const (
	someUUID = "4c4c4544-0042-3510-8053-b7c04f4d3232"
	someMAC  = "52:54:00:12:34:56"
)

// TestWipe: whatever a server says, a disk is wiped only by the admin's signature.
func TestWipe(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	may := func(now time.Time, serial string, ids ...string) error {
		t.Helper()
		s, err := trusttest.Open(t, m.Root(), nil, m.Store, trusttest.Start)
		m.Must(err)
		return s.MayWipe(t.Context(), ids, serial, now)
	}
	no := func(err error) {
		t.Helper()
		if !errors.Is(err, trust.ErrWipe) || !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("permitted, or refused for another reason: %v", err)
		}
	}
	no(may(trusttest.Start, "S1234567", someUUID))
	m.Must(m.Repo.SetWipe(t.Context(), m.Store, []trust.WipeEntry{{Serial: " S1234567 "}, {Machine: strings.ToUpper(someUUID), Until: trusttest.Start.Add(trusttest.Day)}}, trusttest.Start))
	m.Must(may(trusttest.Start, "S1234567"))
	m.Must(may(trusttest.Start, "  s1234567\t", "other"))
	m.Must(may(trusttest.Start, "", someMAC, someUUID)) // a disk without a number, in the machine
	m.Must(may(trusttest.Start.Add(trusttest.Day), "any", "{"+someUUID+"}"))
	no(may(trusttest.Start.Add(trusttest.Day+time.Second), "any", someUUID))
	m.Must(may(trusttest.Start.Add(9*trusttest.Day), "S1234567"))
	no(may(trusttest.Start, "S123456"))
	no(may(trusttest.Start, ""))
	no(may(trusttest.Start, "", ""))
	no(may(trusttest.Start, "any", someMAC))

	// Both: that disk in that machine. Another entry about the same disk replaces the first, one
	// that is over goes.
	later := trusttest.Start.Add(2 * trusttest.Day)
	m.Must(m.Repo.AllowWipe(t.Context(), m.Store, []trust.WipeEntry{{Serial: "WD-77", Machine: "52-54-00-12-34-56"}, {Serial: "s1234567", Until: later}}, later))
	no(may(later, "WD-77", someUUID))
	no(may(later, "WD-78", someMAC))
	m.Must(may(later, "WD-77", someMAC))
	no(may(later.Add(time.Second), "S1234567"))
	list, err := m.Repo.Wipes(t.Context())
	if err != nil || len(list) != 2 || list[0].Machine != someMAC || list[1].Until != later {
		t.Errorf("Wipes = %v, %v", list, err)
	}
	m.Publish() // what is published does not touch the permissions
	m.Sign(later)
	m.Must(may(later, "WD-77", someMAC))
	m.Must(m.Repo.SetWipe(t.Context(), m.Store, nil, later))
	no(may(later, "WD-77", someMAC))
	if list, err := m.Repo.Wipes(t.Context()); len(list) != 0 || err != nil {
		t.Errorf("withdrawn: %v, %v", list, err)
	}
}

// TestWipeForged: a server, or a thief who can write to the store, bends or adds a permission.
func TestWipeForged(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root, mem := m.Root(), &trusttest.Memory{}
	forged, err := json.Marshal(trust.WipeOrder{Format: 1, Entries: []trust.WipeEntry{{Serial: "EVIL-1"}}})
	m.Must(err)
	s, err := trusttest.Open(t, root, mem, m.Attacked(map[string][]byte{"orders/wipe.json": forged}), trusttest.Start)
	m.Must(err)
	if err := s.MayWipe(t.Context(), nil, "EVIL-1", trusttest.Start); !errors.Is(err, trust.ErrWipe) {
		t.Errorf("by an unsigned permission: %v", err)
	}
	m.Must(m.Repo.SetWipe(t.Context(), m.Store, []trust.WipeEntry{{Serial: "GOOD-1"}}, trusttest.Start))
	allowed := m.Files()
	name := ""
	for n := range m.Files() {
		if strings.HasSuffix(n, "wipe.json") {
			name = n
		}
	}
	src := m.Attacked(map[string][]byte{name: forged})
	s, err = trusttest.Open(t, root, mem, src, trusttest.Start)
	m.Must(err)
	for _, serial := range []string{"EVIL-1", "GOOD-1"} {
		if err := s.MayWipe(t.Context(), nil, serial, trusttest.Start); !errors.Is(err, trust.ErrContent) {
			t.Errorf("%s by a bent permission: %v", serial, err)
		}
	}
	m.Must(os.WriteFile(filepath.Join(m.Dir, filepath.FromSlash(name)), forged, 0o644))
	if _, err := m.Repo.Wipes(t.Context()); !errors.Is(err, sign.ErrDoubt) {
		t.Errorf("Wipes of a bent permission: %v", err)
	}
	m.Publish()
	if _, err := m.Repo.SignAll(t.Context(), m.Store, trusttest.Start); !errors.Is(err, sign.ErrDoubt) {
		t.Errorf("a bent permission is signed on: %v", err)
	}
	m.Must(os.WriteFile(filepath.Join(m.Dir, filepath.FromSlash(name)), allowed[name], 0o644))
	if err := m.Repo.SetWipe(t.Context(), m.Store, nil, trusttest.Start); !errors.Is(err, sign.ErrDoubt) {
		t.Errorf("a version is signed along with the permissions: %v", err)
	}
	m.Sign(trusttest.Start)
	m.Must(m.Repo.SetWipe(t.Context(), m.Store, nil, trusttest.Start))
	_, err = trusttest.Open(t, root, mem, m.Store, trusttest.Start)
	m.Must(err)
	if _, err := trusttest.Open(t, root, mem, m.Attacked(allowed), trusttest.Start); !errors.Is(err, trust.ErrRollback) { // a permission that was withdrawn comes back
		t.Errorf("old permissions: %v", err)
	}
}

// TestWipeEntries: what names no single disk or machine is no permission.
func TestWipeEntries(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	for _, e := range []trust.WipeEntry{
		{}, {Serial: "  "}, {Serial: "123"}, {Serial: "00000000"}, {Serial: "a\x1b[2Jb"}, {Serial: strings.Repeat("ab", 70)}, {Until: trusttest.Start},
		{Machine: "pc-17"}, {Machine: "00000000-0000-0000-0000-000000000000"}, {Machine: "ffffffff-ffff-ffff-ffff-ffffffffffff"},
		{Machine: "03000200-0400-0500-0006-000700080009"}, {Machine: "00:00:00:00:00:00"}, {Machine: "ff:ff:ff:ff:ff:ff"}, {Machine: "01:00:5e:00:00:01"},
		{Serial: "GOOD-1", Machine: "x"},
	} {
		if err := m.Repo.AllowWipe(t.Context(), m.Store, []trust.WipeEntry{e}, trusttest.Start); !errors.Is(err, image.ErrInvalid) {
			t.Errorf("%+v: %v", e, err)
		}
		b, err := json.Marshal(trust.WipeOrder{Format: 1, Entries: []trust.WipeEntry{{Serial: "GOOD-1"}, e}})
		m.Must(err)
		if list, err := trust.ParseWipes(b); err == nil {
			t.Errorf("%+v is read as %v", e, list)
		}
	}
}

// FuzzOrder: whatever is taken can be written again and is taken the same.
func FuzzOrder(f *testing.F) {
	f.Add([]byte(`{"format":1,"image":"pc","version":3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := trust.ParseOrder(b, "pc")
		if err != nil {
			return
		}
		again, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := trust.ParseOrder(again, "pc"); err != nil || *p != *o {
			t.Errorf("%s, written again: %v, %v", b, p, err)
		}
	})
}

// FuzzWipes: as FuzzOrder, for the permissions to wipe.
func FuzzWipes(f *testing.F) {
	f.Add([]byte(`{"format":1,"entries":[{"serial":"S123","machine":"` + someMAC + `","until":"2031-03-01T00:00:00Z"},{"machine":"` + someUUID + `"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := trust.ParseWipes(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(trust.WipeOrder{Format: 1, Entries: list})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := trust.ParseWipes(again); err != nil {
			t.Errorf("%s, written again: %v", b, err)
		}
	})
}

// FuzzRelease: as FuzzOrder, for the releases of the agent, whose files must stay in the folder of
// the release.
func FuzzRelease(f *testing.F) {
	good := trust.AgentRelease{Format: 1, Release: release.Release{Version: "1.0", Files: []release.File{{Name: "efi/shimx64.efi", Size: 7}, {Name: "vmlinuz", Size: 1 << 20}}}}
	b, err := good.Encode()
	if err != nil || len(b) < 100 {
		f.Fatal(err, len(b))
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := trust.ParseRelease(b)
		if err != nil {
			return
		}
		for _, file := range r.Files {
			if p := r.Path(file.Name); !strings.HasPrefix(p, "agent/"+r.Version+"/") || !filepath.IsLocal(p) {
				t.Errorf("a file of the release lies at %q", p)
			}
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := trust.ParseRelease(again); err != nil {
			t.Errorf("%s, written again: %v", b, err)
		}
	})
}
