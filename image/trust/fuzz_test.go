package trust_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/testing/trusttest"
)

// fuzzRoom is a signed store that holds only permissions to wipe, in its second state.
type fuzzRoom struct {
	store                    *image.Store
	root, second, remembered []byte
	files                    map[string][]byte // without the second root
	signed                   map[string]string
}

func newFuzzRoom(f *testing.F) *fuzzRoom {
	f.Helper()
	must := func(err error) {
		f.Helper()
		if err != nil {
			f.Fatal(err)
		}
	}
	m, dir := &fuzzRoom{files: map[string][]byte{}}, filepath.Join(f.TempDir(), "s")
	var err error
	m.store, err = publish.Init(dir)
	must(err)
	repo, err := sign.Init(dir, trusttest.Start, nil)
	must(err)
	must(repo.Permit(f.Context(), m.store, []trust.Permit{trusttest.Wipe("S1234")}, nil, trusttest.Start))
	m.root, err = repo.Root()
	must(err)
	for _, name := range []string{"timestamp.json", "2.snapshot.json", "2.targets.json"} {
		m.files["metadata/"+name], err = os.ReadFile(filepath.Join(dir, trusttest.Folder, name))
		must(err)
	}
	s, _, err := trust.Pinned(f.Context(), m.store, trusttest.Start, &trust.PinnedOptions{Root: m.root, Memory: &keeping{m}})
	must(err)
	if m.signed = s.Names(); len(m.signed) != 1 {
		f.Fatalf("signed is %v", m.signed)
	}
	must(repo.Rotate(f.Context(), m.store, sign.Admin, trusttest.Start))
	m.second, err = repo.Root()
	must(err)
	return m
}

// source answers for the store as it was before the second root.
func (m *fuzzRoom) source(says map[string][]byte) trusttest.Source {
	all := maps.Clone(m.files)
	all["metadata/2.root.json"] = nil
	maps.Copy(all, says)
	return trusttest.Attack(m.store, all)
}

// keeping shows what a client remembers.
type keeping struct{ m *fuzzRoom }

func (k *keeping) Load() ([]byte, error) { return nil, nil }
func (k *keeping) Save(b []byte) error   { k.m.remembered = bytes.Clone(b); return nil }

// FuzzRefresh lets a source answer anything for one document, with anything remembered. What a
// client then trusts is what was signed, whatever else it accepts.
func FuzzRefresh(f *testing.F) {
	m := newFuzzRoom(f)
	root, files := m.root, m.files
	names := []string{"timestamp.json", "2.snapshot.json", "2.targets.json", "2.root.json"}
	seeds := 0
	for i, name := range names[:3] {
		b := files["metadata/"+name]
		other := files["metadata/"+names[(i+1)%3]]
		for _, s := range [][]byte{b, b[:len(b)/2], other, bytes.Replace(b, []byte("2031"), []byte("2041"), 1), bytes.Replace(b, []byte(`"version":2`), []byte(`"version":3`), 1)} {
			if len(s) < 50 {
				f.Fatalf("seed of %s: %q", name, s)
			}
			f.Add(i, s, m.remembered)
			seeds++
		}
	}
	f.Add(3, root, []byte{})
	f.Add(3, m.second, m.remembered)
	f.Add(0, files["metadata/timestamp.json"], []byte(`{"format":1,"timestamp":"e30="}`))
	if seeds != 15 || len(m.remembered) < 500 || len(m.second) < 500 {
		f.Fatal("seeds are missing")
	}
	f.Fuzz(func(t *testing.T, which int, b, remembered []byte) {
		if which < 0 || which >= len(names) {
			return
		}
		src := m.source(map[string][]byte{"metadata/" + names[which]: b})
		s, err := trusttest.Open(t, root, &trusttest.Memory{B: remembered}, src, trusttest.Start)
		if err == nil && !maps.Equal(s.Names(), m.signed) {
			t.Errorf("the client trusts %v", s.Names())
		}
	})
}
