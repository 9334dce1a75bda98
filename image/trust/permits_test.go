package trust_test

import (
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

// permitFor is a permit of a scope, for trusttest.Key until the day after Start.
func permitFor(s trust.Scope) trust.Permit {
	p := trust.Permit{Scope: s, Key: trusttest.Key, Until: trusttest.Start.Add(trusttest.Day)}
	if s == trust.Downgrade {
		p.Image, p.Version = "pc", 1
	}
	return p
}

// TestPermit: whatever a server says, a machine does by its own key, or with its own disk, exactly
// what was signed, until that ends.
func TestPermit(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	m.Publish()
	m.Sign(trusttest.Start)
	may := func(u trust.Use, now time.Time) error {
		t.Helper()
		s, err := trusttest.Open(t, m.Root(), nil, m.Store, trusttest.Start)
		m.Must(err)
		return s.Permitted(t.Context(), u, now)
	}
	no := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, trust.ErrPermit) || !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("%s: permitted, or refused for another reason: %v", what, err)
		}
	}
	use := func(s trust.Scope) trust.Use {
		p := permitFor(s)
		return trust.Use{Scope: s, Key: p.Key, Disk: "S1234567", Image: p.Image, Version: p.Version}
	}
	no("nothing is signed", may(use(trust.Wipe), trusttest.Start))
	all := func(trust.Permit) bool { return true }
	for _, s := range trust.Scopes() {
		t.Run(string(s), func(t *testing.T) {
			m.Must(m.Repo.Withdraw(t.Context(), m.Store, all, trusttest.Start))
			m.Permit(permitFor(s))
			for _, other := range trust.Scopes() {
				if err := may(use(other), trusttest.Start); other == s && err != nil || other != s && !errors.Is(err, trust.ErrPermit) {
					t.Errorf("asked for %s: %v", other, err)
				}
			}
			m.Must(may(use(s), trusttest.Start.Add(trusttest.Day)))
			no("it has ended", may(use(s), trusttest.Start.Add(trusttest.Day+time.Second)))
			u := use(s)
			u.Key = strings.Repeat("b2", 32)
			no("another machine", may(u, trusttest.Start))
			u.Key = ""
			no("a machine without a key", may(u, trusttest.Start))
		})
	}
	u := use(trust.Downgrade)
	m.Permit(permitFor(trust.Downgrade))
	u.Version = 2
	no("another version", may(u, trusttest.Start))
	u.Version, u.Image = 1, "mac"
	no("another image", may(u, trusttest.Start))
	disk := trusttest.Wipe(" wd-77 ")
	m.Permit(disk)
	m.Must(may(trust.Use{Scope: trust.Wipe, Disk: "  WD-77\t"}, trusttest.Start))
	for _, serial := range []string{"", "WD-7", "WD-777"} {
		no("disk "+serial, may(trust.Use{Scope: trust.Wipe, Disk: serial}, trusttest.Start))
	}
}

// TestPermitKept: permits stay when others are signed; the next signing drops what has ended or was
// used, and of two for the same thing the first.
func TestPermitKept(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	m.Publish()
	m.Sign(trusttest.Start)
	long, later := trusttest.Wipe("LONG-1"), trusttest.Start.Add(2*trusttest.Day)
	m.Permit(permitFor(trust.Reinstall), long, trusttest.Wipe("USED-1"), permitFor(trust.Downgrade))
	m.Permit(trusttest.Downgrade(2)) // in place of the one to version 1
	m.Publish()
	m.Sign(later)
	want := func(now time.Time, want ...string) {
		t.Helper()
		list, err := m.Repo.Permits(t.Context())
		m.Must(err)
		var have []string
		for _, p := range list {
			have = append(have, string(p.Scope)+p.Disk)
		}
		if strings.Join(have, " ") != strings.Join(want, " ") {
			t.Errorf("permits %v, want %v", have, want)
		}
	}
	want(later, "reinstall", "wipeLONG-1", "wipeUSED-1", "downgrade")
	m.Must(m.Repo.Permit(t.Context(), m.Store, []trust.Permit{trusttest.Wipe("NEW-1")}, func(p trust.Permit) bool { return p.Disk == "USED-1" }, later))
	want(later, "wipeLONG-1", "downgrade", "wipeNEW-1")
	m.Must(m.Repo.Withdraw(t.Context(), m.Store, func(p trust.Permit) bool { return p.Disk == "LONG-1" }, later))
	want(later, "downgrade", "wipeNEW-1")
	m.Must(m.Repo.Withdraw(t.Context(), m.Store, func(trust.Permit) bool { return true }, later))
	want(later)
	absent := permitFor(trust.Downgrade)
	absent.Version = 9
	if err := m.Repo.Permit(t.Context(), m.Store, []trust.Permit{absent}, nil, trusttest.Start); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("a downgrade to a version that is not there: %v", err)
	}
}

// TestPermitForged: a server, or a thief who can write to the store, bends or adds a permit.
func TestPermitForged(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root, mem := m.Root(), &trusttest.Memory{}
	forged, err := (&trust.Permits{Permits: []trust.Permit{trusttest.Wipe("EVIL-1")}}).Encode()
	m.Must(err)
	wipe := func(serial string) trust.Use { return trust.Use{Scope: trust.Wipe, Disk: serial} }
	s, err := trusttest.Open(t, root, mem, m.Attacked(map[string][]byte{"permits.json": forged}), trusttest.Start)
	m.Must(err)
	if err := s.Permitted(t.Context(), wipe("EVIL-1"), trusttest.Start); !errors.Is(err, trust.ErrPermit) {
		t.Errorf("by an unsigned permit: %v", err)
	}
	m.Permit(trusttest.Wipe("GOOD-1"))
	allowed, name := m.Files(), ""
	for n := range allowed {
		if strings.HasSuffix(n, "permits.json") {
			name = n
		}
	}
	s, err = trusttest.Open(t, root, mem, m.Attacked(map[string][]byte{name: forged}), trusttest.Start)
	m.Must(err)
	for _, serial := range []string{"EVIL-1", "GOOD-1"} {
		if err := s.Permitted(t.Context(), wipe(serial), trusttest.Start); !errors.Is(err, trust.ErrContent) {
			t.Errorf("%s by a bent permit: %v", serial, err)
		}
	}
	none := func() error {
		return m.Repo.Withdraw(t.Context(), m.Store, func(trust.Permit) bool { return true }, trusttest.Start)
	}
	m.Must(os.WriteFile(filepath.Join(m.Dir, filepath.FromSlash(name)), forged, 0o644))
	if _, err := m.Repo.Permits(t.Context()); !errors.Is(err, sign.ErrDoubt) {
		t.Errorf("Permits of a bent permit: %v", err)
	}
	m.Publish()
	if _, err := m.Repo.SignAll(t.Context(), m.Store, trusttest.Start); !errors.Is(err, sign.ErrDoubt) {
		t.Errorf("a bent permit is signed on: %v", err)
	}
	m.Must(os.WriteFile(filepath.Join(m.Dir, filepath.FromSlash(name)), allowed[name], 0o644))
	if err := none(); !errors.Is(err, sign.ErrDoubt) {
		t.Errorf("a version is signed along with the permits: %v", err)
	}
	m.Sign(trusttest.Start)
	m.Must(none())
	_, err = trusttest.Open(t, root, mem, m.Store, trusttest.Start)
	m.Must(err)
	if _, err := trusttest.Open(t, root, mem, m.Attacked(allowed), trusttest.Start); !errors.Is(err, trust.ErrRollback) { // a permit that was withdrawn comes back
		t.Errorf("old permits: %v", err)
	}
}

// TestNoPermit: what names no single machine or disk, or has no end, is no permit.
func TestNoPermit(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	for name, bend := range map[string]func(p *trust.Permit){
		"nobody":                func(p *trust.Permit) { p.Key = "" },
		"both":                  func(p *trust.Permit) { p.Disk = "S1234" },
		"no key":                func(p *trust.Permit) { p.Key = "pc-17" },
		"a placeholder":         func(p *trust.Permit) { p.Key, p.Disk = "", "00000000" },
		"a short serial":        func(p *trust.Permit) { p.Key, p.Disk = "", "123" },
		"a long serial":         func(p *trust.Permit) { p.Key, p.Disk = "", strings.Repeat("ab", 70) },
		"control characters":    func(p *trust.Permit) { p.Key, p.Disk = "", "a\x1b[2Jb" },
		"a name that is a list": func(p *trust.Permit) { p.Name = "pc\npc" },
		"no end":                func(p *trust.Permit) { p.Until = time.Time{} },
		"no scope":              func(p *trust.Permit) { p.Scope = "" },
		"all scopes":            func(p *trust.Permit) { p.Scope = "*" },
		"a version":             func(p *trust.Permit) { p.Image, p.Version = "pc", 1 },
		"a downgrade to all":    func(p *trust.Permit) { p.Scope = trust.Downgrade },
		"a downgrade to none":   func(p *trust.Permit) { p.Scope, p.Image = trust.Downgrade, "pc" },
		"a downgrade below 0":   func(p *trust.Permit) { p.Scope, p.Image, p.Version = trust.Downgrade, "pc", -1 },
		"a path":                func(p *trust.Permit) { p.Scope, p.Image, p.Version = trust.Downgrade, "../pc", 1 },
	} {
		t.Run(name, func(t *testing.T) {
			p := permitFor(trust.Reinstall)
			bend(&p)
			if err := m.Repo.Permit(t.Context(), m.Store, []trust.Permit{p}, nil, trusttest.Start); !errors.Is(err, image.ErrInvalid) {
				t.Errorf("signing: %v", err)
			}
			b, err := (&trust.Permits{Permits: []trust.Permit{permitFor(trust.Wipe), p}}).Encode()
			m.Must(err)
			d, err := trust.ParsePermits(b)
			m.Must(err)
			for i, want := range []bool{true, false} {
				p := &d.Permits[i]
				if p.Void() == nil != want || p.Allows(trust.Use{Scope: p.Scope, Key: p.Key, Disk: p.Disk, Image: p.Image, Version: p.Version}, trusttest.Start) != want {
					t.Errorf("permit %d of %s: void %v", i, b, p.Void())
				}
			}
		})
	}
	over := permitFor(trust.Wipe)
	if err := m.Repo.Permit(t.Context(), m.Store, []trust.Permit{over}, nil, over.Until.Add(time.Second)); !errors.Is(err, image.ErrInvalid) {
		t.Errorf("one that has ended: %v", err)
	}
}

// FuzzPermits: whatever is taken can be written again and is taken the same.
func FuzzPermits(f *testing.F) {
	for _, s := range trust.Scopes() {
		b, err := (&trust.Permits{Permits: []trust.Permit{permitFor(s), trusttest.Wipe("S1234")}}).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := trust.ParsePermits(b)
		if err != nil {
			return
		}
		text, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := trust.ParsePermits(text)
		if err != nil {
			t.Fatalf("%s, written again: %v", b, err)
		}
		for i := range d.Permits {
			if (d.Permits[i].Void() == nil) != (again.Permits[i].Void() == nil) {
				t.Errorf("%s, written again: permit %d is void: %v, %v", b, i, d.Permits[i].Void(), again.Permits[i].Void())
			}
		}
	})
}

// FuzzRelease: as FuzzOrder, for the releases of the agent, whose files must stay in the folder of
// the release.
func FuzzRelease(f *testing.F) {
	good := trust.AgentRelease{Release: release.Release{Version: "1.0", Files: []release.File{{Name: "efi/shimx64.efi", Size: 7}, {Name: "vmlinuz", Size: 1 << 20}}}}
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
