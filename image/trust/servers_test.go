package trust_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"troy/image"
	"troy/image/trust"
	"troy/internal/testing/trusttest"
	"troy/internal/tlskey"
)

// keyOf is a name that a key could have.
func keyOf(n int) string { return strings.Repeat(fmt.Sprintf("%02x", n), tlskey.Size/2) }

// TestServers: a client sees the list that is signed, remembers the newest one, and takes neither an
// older one, nor one that was changed, nor that of another store.
func TestServers(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root, mem := m.Root(), &trusttest.Memory{}
	if s, err := trusttest.Open(t, root, mem, m.Store, trusttest.Start); err != nil || s.Servers() != nil || trust.Known(root, nil, mem) != nil {
		t.Fatalf("without a list: %v", err)
	}
	set := func(keys ...string) {
		t.Helper()
		var list []trust.Server
		for _, k := range keys {
			list = append(list, trust.Server{Key: k, URLs: []string{"https://troy.example:8443"}})
		}
		m.Must(m.Repo.SetServers(t.Context(), m.Store, list, trusttest.Start))
	}
	see := func(want ...string) {
		t.Helper()
		s, err := trusttest.Open(t, root, mem, m.Store, trusttest.Start)
		m.Must(err)
		if got := s.Servers().Keys(); !slices.Equal(got, want) {
			t.Errorf("the client sees the keys %q, want %q", got, want)
		}
		if got := trust.Known(root, nil, mem).Keys(); !slices.Equal(got, want) {
			t.Errorf("the client remembers the keys %q, want %q", got, want)
		}
	}
	set(keyOf(1))
	see(keyOf(1))
	first := m.Files()
	stolen, err := trust.Known(root, nil, mem).Encode()
	m.Must(err)
	set(keyOf(2))
	see(keyOf(2))
	if _, err := trusttest.Open(t, root, mem, m.Attacked(first), trusttest.Start); !errors.Is(err, trust.ErrRollback) {
		t.Errorf("the list from before: %v", err)
	}
	for name, b := range m.Files() {
		if !strings.HasSuffix(name, ".servers.json") || bytes.Equal(first[name], b) {
			continue
		}
		bent := bytes.Replace(b, []byte(keyOf(2)), []byte(keyOf(3)), 1)
		if _, err := trusttest.Open(t, root, nil, m.Attacked(map[string][]byte{name: bent}), trusttest.Start); !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("a list that was changed: %v", err)
		}
	}
	see(keyOf(2))
	m.Publish()
	m.Sign(trusttest.Start) // signing something else keeps the list
	see(keyOf(2))

	media := func(version int, store string) []byte {
		b, err := (&trust.Servers{Version: version, Store: store, Servers: []trust.Server{{Key: keyOf(4)}}}).Encode()
		m.Must(err)
		return b
	}
	own := trust.Known(root, nil, mem).Store
	for name, c := range map[string]struct {
		media []byte
		want  string
	}{
		"older media":      {stolen, keyOf(2)},
		"newer media":      {media(9, own), keyOf(4)},
		"another store":    {media(9, "other"), keyOf(2)},
		"damaged media":    {[]byte("{"), keyOf(2)},
		"none":             {nil, keyOf(2)},
		"the same version": {media(2, own), keyOf(4)},
	} {
		t.Run(name, func(t *testing.T) {
			if got := trust.Known(root, c.media, mem).Keys(); len(got) != 1 || got[0] != c.want {
				t.Errorf("the client takes %q, want %s", got, c.want)
			}
		})
	}
	if trust.Known(trusttest.NewRoom(t, nil).Root(), nil, mem) != nil {
		t.Error("the list of another store counts for this root")
	}
}

// TestServersNext: keys that are next are taken, and their URLs are not asked.
func TestServersNext(t *testing.T) {
	s := &trust.Servers{Servers: []trust.Server{{Key: "b", URLs: []string{"https://b"}, Next: true}, {Key: "a", URLs: []string{"https://a"}}}}
	if k, u := s.Keys(), s.URLs(); !slices.Equal(k, []string{"a", "b"}) || !slices.Equal(u, []string{"https://a"}) {
		t.Errorf("keys %q, URLs %q", k, u)
	}
}

// TestServersCheck: half a list is none.
func TestServersCheck(t *testing.T) {
	good := func() *trust.Servers {
		return &trust.Servers{Version: 1, Store: "s", Servers: []trust.Server{{Key: keyOf(1), URLs: []string{"https://a:8443/x"}}}}
	}
	if err := good().Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(s *trust.Servers){
		"no version":  func(s *trust.Servers) { s.Version = 0 },
		"no store":    func(s *trust.Servers) { s.Store = "" },
		"no server":   func(s *trust.Servers) { s.Servers = nil },
		"too many":    func(s *trust.Servers) { s.Servers = slices.Repeat(s.Servers, trust.MaxServers+1) },
		"twice":       func(s *trust.Servers) { s.Servers = slices.Repeat(s.Servers, 2) },
		"no key":      func(s *trust.Servers) { s.Servers[0].Key = "" },
		"upper case":  func(s *trust.Servers) { s.Servers[0].Key = strings.ToUpper(strings.Repeat("a", tlskey.Size)) },
		"plain HTTP":  func(s *trust.Servers) { s.Servers[0].URLs[0] = "http://a" },
		"no host":     func(s *trust.Servers) { s.Servers[0].URLs[0] = "https://" },
		"a line feed": func(s *trust.Servers) { s.Servers[0].URLs[0] = "https://a\n" },
		"too long":    func(s *trust.Servers) { s.Servers[0].URLs[0] = "https://" + strings.Repeat("a", 300) },
	} {
		t.Run(name, func(t *testing.T) {
			s := good()
			change(s)
			if err := s.Check(); !errors.Is(err, image.ErrInvalid) {
				t.Errorf("Check = %v", err)
			}
		})
	}
}

// FuzzServers: a list from media or a journal is one that Check takes, or an error.
func FuzzServers(f *testing.F) {
	f.Add([]byte(`{"format":1,"version":3,"store":"s","servers":[{"key":"` + keyOf(1) + `","urls":["https://a"]},{"key":"` + keyOf(2) + `","next":true}]}`))
	f.Add([]byte(`{"format":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := trust.ParseServers(b)
		if err != nil {
			return
		}
		again, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := trust.ParseServers(again); err != nil || !json.Valid(again) || len(s.Keys()) == 0 {
			t.Errorf("%q is taken, what it encodes to is not: %v", b, err)
		}
	})
}
