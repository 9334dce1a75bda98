package sign_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/image/trust/sign"
	"troy/internal/testing/trusttest"
)

// TestConfirmed: a machine is in the list once, by its name and by its key, and a list that cannot be
// read is no empty one.
func TestConfirmed(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	want := func(names ...string) {
		t.Helper()
		list, err := m.Repo.Confirmed()
		m.Must(err)
		var got []string
		for _, c := range list {
			got = append(got, c.Name+" "+c.Key)
		}
		if !slices.Equal(got, names) {
			t.Errorf("confirmed are %q, want %q", got, names)
		}
	}
	want()
	m.Must(m.Repo.Confirm([]sign.Confirmed{{Name: "b", Key: "1"}, {Name: "a", Key: "2"}}))
	want("a 2", "b 1")
	m.Must(m.Repo.Confirm([]sign.Confirmed{{Name: "b", Key: "3", Disks: []string{"S"}}}))
	want("a 2", "b 3")
	m.Must(m.Repo.Confirm([]sign.Confirmed{{Name: "c", Key: "2"}})) // renamed
	want("b 3", "c 2")
	for _, text := range []string{"", "{", `{"format":0}`, `{"format":1,"needs":["more"]}`} {
		m.Must(os.WriteFile(filepath.Join(m.Dir, "keys", "confirmed.json"), []byte(text), 0o644))
		if _, err := m.Repo.Confirmed(); !errors.Is(err, sign.ErrNoTrust) {
			t.Errorf("%q: %v", text, err)
		}
		if err := m.Repo.Confirm([]sign.Confirmed{{Name: "d"}}); !errors.Is(err, sign.ErrNoTrust) {
			t.Errorf("%q is written over: %v", text, err)
		}
	}
	newer := `{"format":7,"more":1,"machines":[{"name":"a","key":"1","more":2}]}`
	path := filepath.Join(m.Dir, "keys", "confirmed.json")
	m.Must(os.WriteFile(path, []byte(newer), 0o644))
	m.Must(m.Repo.Confirm([]sign.Confirmed{{Name: "b", Key: "2"}}))
	want("a 1", "b 2")
	if b, err := os.ReadFile(path); err != nil || strings.Count(string(b), `"more"`) != 2 {
		t.Errorf("rewritten as %s, %v", b, err)
	}
}
