package trust_test

import (
	"errors"
	"strings"
	"testing"

	"troy/image/trust"
	"troy/internal/format"
	"troy/internal/testing/trusttest"
)

// TestPermitsOfANewerProgram: what is new in the document is kept and ignored, what is new in a
// permit voids that permit alone, and a word that is not known voids all.
func TestPermitsOfANewerProgram(t *testing.T) {
	const wipe = `{"scope":"wipe","disk":"S1234","signed":"2026-01-01T00:00:00Z","until":"2126-01-01T00:00:00Z"`
	for name, c := range map[string]struct {
		head    string
		permits []string
		void    []string // "" = it permits something
		err     string
	}{
		"newer number":        {`"format":9`, []string{wipe + `}`}, []string{""}, ""},
		"member":              {`"format":9,"more":[{"scope":1}]`, []string{wipe + `}`}, []string{""}, ""},
		"member of a permit":  {`"format":9`, []string{wipe + `,"only":"mondays"}`, wipe + `}`}, []string{"says more than", ""}, ""},
		"scope":               {`"format":9`, []string{strings.Replace(wipe, "wipe", "borrow", 1) + `}`, wipe + `}`}, []string{"borrow", ""}, ""},
		"word":                {`"format":1,"needs":["mondays"]`, []string{wipe + `}`}, nil, `permits.json needs "mondays"`},
		"older than all":      {`"format":0`, []string{wipe + `}`}, nil, "format 0"},
		"other case":          {`"format":1`, []string{wipe + `,"Until":"2226-01-01T00:00:00Z"}`}, nil, "is spelled"},
		"twice":               {`"format":1`, []string{wipe + `,"until":"2226-01-01T00:00:00Z"}`}, nil, "duplicate"},
		"spelled another way": {`"format":1`, []string{strings.Replace(wipe, "S1234", " S1234", 1) + `}`}, []string{"not spelled"}, ""},
		"part of a second":    {`"format":1`, []string{strings.Replace(wipe, `2126-01-01T00:00:00Z`, `2126-01-01T00:00:00.5Z`, 1) + `}`}, []string{"not spelled"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := "{" + c.head + `,"permits":[` + strings.Join(c.permits, ",") + "]}"
			d, err := trust.ParsePermits([]byte(b))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%s: %v, want %q", b, err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range d.Permits {
				void, allows := p.Void(), p.Allows(trust.Use{Scope: p.Scope, Disk: p.Disk}, trusttest.Start)
				if want := c.void[i]; (void == nil) != (want == "") || allows != (want == "") || void != nil && !strings.Contains(void.Error(), want) {
					t.Errorf("permit %d of %s: allows %t, void %v, want %q", i, b, allows, void, want)
				}
			}
			again, err := d.Encode()
			if err != nil {
				t.Fatal(err)
			}
			for _, kept := range []string{`"more":[{"scope":1}]`, `"only":"mondays"`, "borrow"} {
				if strings.Contains(b, kept) != strings.Contains(string(again), kept) {
					t.Errorf("%s is rewritten as %s", b, again)
				}
			}
		})
	}
}

// TestBareDocuments: what an old agent needs in order to become a newer one is read whatever it
// needs to know of it.
func TestBareDocuments(t *testing.T) {
	servers := `{"format":7,"more":1,"version":3,"store":"s","servers":[{"key":"` + keyOf(1) + `","urls":["https://a"],"more":2}]}`
	list, err := trust.ParseServers([]byte(servers))
	if err != nil || len(list.Keys()) != 1 || list.Digest() == "" {
		t.Fatalf("%s: %+v, %v", servers, list, err)
	}
	b, err := list.Encode()
	if err != nil || !strings.Contains(string(b), `"more":1`) || !strings.Contains(string(b), `"more":2`) {
		t.Errorf("rewritten as %s, %v", b, err)
	}
	release := `{"format":7,"more":1,"version":"2.0","files":[{"name":"vmlinuz","size":1,"sha256":"` + keyOf(1) + `","more":2}]}`
	if r, err := trust.ParseRelease([]byte(release)); err != nil || r.Version != "2.0" {
		t.Errorf("%s: %+v, %v", release, r, err)
	}
	if !trust.ServersKind.Bare || !trust.ReleaseKind.Bare {
		t.Error("a document on the way to a newer agent may need a word")
	}
}

// TestPermitsAreKept: signing another permit leaves there what a newer program signed, and machines
// do not follow half of it.
func TestPermitsAreKept(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	newer := trusttest.Wipe("NEW-1")
	newer.Unknown = format.Unknown(`{"only":"mondays"}`)
	m.Permit(newer)
	m.Permit(trusttest.Wipe("OLD-1"))
	list, err := m.Repo.Permits(t.Context())
	m.Must(err)
	if len(list) != 2 || string(list[0].Unknown) != string(newer.Unknown) {
		t.Fatalf("signed is %+v", list)
	}
	s, err := trusttest.Open(t, m.Root(), nil, m.Store, trusttest.Start)
	m.Must(err)
	for serial, want := range map[string]error{"NEW-1": trust.ErrPermit, "OLD-1": nil} {
		if err := s.Permitted(t.Context(), trust.Use{Scope: trust.Wipe, Disk: serial}, trusttest.Start); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", serial, err, want)
		}
	}
}
