package trust_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/image"
	"troy/image/trust"
)

const (
	someUUID = "4c4c4544-0042-3510-8053-b7c04f4d3232"
	someMAC  = "52:54:00:12:34:56"
)

// TestWipe: whatever a server says, a disk is wiped only by the admin's signature.
func TestWipe(t *testing.T) {
	m := newRoom(t, nil)
	may := func(now time.Time, serial string, ids ...string) error {
		t.Helper()
		s, err := open(t, m.root(), nil, m.store, start)
		m.must(err)
		return s.MayWipe(t.Context(), ids, serial, now)
	}
	no := func(err error) {
		t.Helper()
		if !errors.Is(err, trust.ErrWipe) || !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("permitted, or refused for another reason: %v", err)
		}
	}
	no(may(start, "S1234567", someUUID))
	m.must(m.repo.SetWipe(t.Context(), m.store, []trust.WipeEntry{{Serial: " S1234567 "}, {Machine: strings.ToUpper(someUUID), Until: start.Add(day)}}, start))
	m.must(may(start, "S1234567"))
	m.must(may(start, "  s1234567\t", "other"))
	m.must(may(start, "", someMAC, someUUID)) // a disk without a number, in the machine
	m.must(may(start.Add(day), "any", "{"+someUUID+"}"))
	no(may(start.Add(day+time.Second), "any", someUUID))
	m.must(may(start.Add(9*day), "S1234567"))
	no(may(start, "S123456"))
	no(may(start, ""))
	no(may(start, "", ""))
	no(may(start, "any", someMAC))

	// Both: that disk in that machine. Another entry about the same disk replaces the first, one that is over goes.
	later := start.Add(2 * day)
	m.must(m.repo.AllowWipe(t.Context(), m.store, []trust.WipeEntry{{Serial: "WD-77", Machine: "52-54-00-12-34-56"}, {Serial: "s1234567", Until: later}}, later))
	no(may(later, "WD-77", someUUID))
	no(may(later, "WD-78", someMAC))
	m.must(may(later, "WD-77", someMAC))
	no(may(later.Add(time.Second), "S1234567"))
	list, err := m.repo.Wipes()
	if err != nil || len(list) != 2 || list[0].Machine != someMAC || list[1].Until != later {
		t.Errorf("Wipes = %v, %v", list, err)
	}
	m.publish() // what is published does not touch the permissions
	m.sign(later)
	m.must(may(later, "WD-77", someMAC))
	m.must(m.repo.SetWipe(t.Context(), m.store, nil, later))
	no(may(later, "WD-77", someMAC))
	if list, err := m.repo.Wipes(); len(list) != 0 || err != nil {
		t.Errorf("withdrawn: %v, %v", list, err)
	}
}

// TestWipeForged: a server, or whoever can write to the store, bends or adds a permission.
func TestWipeForged(t *testing.T) {
	m := newRoom(t, nil)
	root, mem := m.root(), &memory{}
	forged, err := json.Marshal(trust.WipeOrder{Format: 1, Entries: []trust.WipeEntry{{Serial: "EVIL-1"}}})
	m.must(err)
	s, err := open(t, root, mem, m.attacked(map[string][]byte{"orders/wipe.json": forged}), start)
	m.must(err)
	if err := s.MayWipe(t.Context(), nil, "EVIL-1", start); !errors.Is(err, trust.ErrWipe) {
		t.Errorf("by an unsigned permission: %v", err)
	}
	m.must(m.repo.SetWipe(t.Context(), m.store, []trust.WipeEntry{{Serial: "GOOD-1"}}, start))
	allowed := m.files()
	name := ""
	for n := range m.files() {
		if strings.HasSuffix(n, "wipe.json") {
			name = n
		}
	}
	src := m.attacked(map[string][]byte{name: forged})
	s, err = open(t, root, mem, src, start)
	m.must(err)
	for _, serial := range []string{"EVIL-1", "GOOD-1"} {
		if err := s.MayWipe(t.Context(), nil, serial, start); !errors.Is(err, trust.ErrContent) {
			t.Errorf("%s by a bent permission: %v", serial, err)
		}
	}
	m.must(os.WriteFile(filepath.Join(m.dir, filepath.FromSlash(name)), forged, 0o644))
	if _, err := m.repo.Wipes(); !errors.Is(err, trust.ErrRepository) {
		t.Errorf("Wipes of a bent permission: %v", err)
	}
	m.publish()
	if _, err := m.repo.Sign(t.Context(), m.store, start); !errors.Is(err, trust.ErrRepository) {
		t.Errorf("a bent permission is signed on: %v", err)
	}
	m.must(os.WriteFile(filepath.Join(m.dir, filepath.FromSlash(name)), allowed[name], 0o644))
	m.must(m.repo.SetWipe(t.Context(), m.store, nil, start))
	_, err = open(t, root, mem, m.store, start)
	m.must(err)
	if _, err := open(t, root, mem, m.attacked(allowed), start); !errors.Is(err, trust.ErrRollback) { // a permission that was withdrawn comes back
		t.Errorf("old permissions: %v", err)
	}
}

// TestWipeEntries: what names no single disk or machine is no permission.
func TestWipeEntries(t *testing.T) {
	m := newRoom(t, nil)
	for _, e := range []trust.WipeEntry{
		{}, {Serial: "  "}, {Serial: "123"}, {Serial: "00000000"}, {Serial: "a\x1b[2Jb"}, {Serial: strings.Repeat("ab", 70)}, {Until: start},
		{Machine: "pc-17"}, {Machine: "00000000-0000-0000-0000-000000000000"}, {Machine: "ffffffff-ffff-ffff-ffff-ffffffffffff"},
		{Machine: "03000200-0400-0500-0006-000700080009"}, {Machine: "00:00:00:00:00:00"}, {Machine: "ff:ff:ff:ff:ff:ff"}, {Machine: "01:00:5e:00:00:01"},
		{Serial: "GOOD-1", Machine: "x"},
	} {
		if err := m.repo.AllowWipe(t.Context(), m.store, []trust.WipeEntry{e}, start); !errors.Is(err, image.ErrInvalid) {
			t.Errorf("%+v: %v", e, err)
		}
		b, err := json.Marshal(trust.WipeOrder{Format: 1, Entries: []trust.WipeEntry{{Serial: "GOOD-1"}, e}})
		m.must(err)
		if list, err := trust.ParseDocument(1, b); err == nil {
			t.Errorf("%+v is read as %v", e, list)
		}
	}
}

// FuzzDocuments: the documents that go-tuf does not read. Whatever is taken can be written again and is taken the same.
func FuzzDocuments(f *testing.F) {
	release, err := trust.EncodeRelease(&trust.AgentRelease{Format: 1, Version: "1.0", Files: []trust.AgentFile{{Name: "efi/shimx64.efi", Size: 7}, {Name: "vmlinuz", Size: 1 << 20}}})
	if err != nil || len(release) < 100 {
		f.Fatal(err, len(release))
	}
	f.Add(0, []byte(`{"format":1,"image":"pc","version":3}`))
	f.Add(1, []byte(`{"format":1,"entries":[{"serial":"S123","machine":"`+someMAC+`","until":"2031-03-01T00:00:00Z"},{"machine":"`+someUUID+`"}]}`))
	f.Add(2, release)
	f.Fuzz(func(t *testing.T, which int, b []byte) {
		v, err := trust.ParseDocument(which, b)
		if err != nil {
			return
		}
		again, err := json.Marshal(v)
		switch list := v.(type) {
		case []trust.WipeEntry:
			again, err = json.Marshal(trust.WipeOrder{Format: 1, Entries: list})
		case *trust.AgentRelease:
			for _, file := range list.Files {
				if p := list.Path(file.Name); !strings.HasPrefix(p, "agent/"+list.Version+"/") || !filepath.IsLocal(p) {
					t.Errorf("a file of the release lies at %q", p)
				}
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := trust.ParseDocument(which, again); err != nil {
			t.Errorf("%s, written again: %v", b, err)
		}
	})
}
