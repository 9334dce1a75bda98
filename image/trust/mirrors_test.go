package trust_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/testing/trusttest"
	"troy/netfetch"
)

// served serves a folder, or what a handler says.
func served(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func folderOf(m *trusttest.Room) http.Handler { return http.FileServer(http.Dir(m.Dir)) }

// page answers every request with a web page, as the sign-in page of a guests' network does.
var page = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	w.Write([]byte("<html><body>Please sign in to the network</body></html>"))
})

// rotten is a copy of a store in which one byte of every file of a folder is wrong.
func rotten(t *testing.T, m *trusttest.Room, folder string) http.Handler {
	c := m.CopyTree()
	m.Must(filepath.WalkDir(filepath.Join(c.Dir, folder), func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if err == nil && len(b) > 0 {
			b[len(b)/2] ^= 1
			err = os.WriteFile(p, b, 0o644)
		}
		return err
	}))
	return folderOf(c)
}

// overHTTP says in the words of package image that there is no such document.
type overHTTP struct{ *netfetch.Mirrors }

func (o overHTTP) Get(ctx context.Context, name string, max int64) ([]byte, error) {
	b, err := o.Mirrors.Get(ctx, name, max)
	if notFound(err) {
		err = fmt.Errorf("%w: %w", image.ErrNotFound, err)
	}
	return b, err
}

func mirrors(t *testing.T, list ...http.Handler) overHTTP {
	var urls []string
	for _, h := range list {
		urls = append(urls, served(t, h))
	}
	src, err := netfetch.NewHTTPMirrors(urls, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Reconnect)
	return overHTTP{src}
}

// newest returns the newest version that a client sees and fetches from mirrors.
func newest(t *testing.T, m *trusttest.Room, root []byte, mem trust.Memory, now time.Time, list ...http.Handler) (int, error) {
	return m.Sees(root, mem, mirrors(t, list...), now)
}

// TestMirrorsOneByOne: of several mirrors the last is as it should be. Each of the others is found
// out by itself, in whatever document it is wrong.
func TestMirrorsOneByOne(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root, expired := m.Root(), m.CopyTree()
	later := trusttest.Start.Add(20 * trusttest.Day)
	m.Must(m.Repo.Rotate(t.Context(), m.Store, sign.Server, later)) // a second root
	m.Publish()
	before := m.CopyTree()
	seen := &trusttest.Memory{}
	m.Sign(later)
	m.WantVersion(2, root, seen, later)
	good := folderOf(m)
	none := http.NotFoundHandler()
	for name, list := range map[string][]http.Handler{
		"a page":                {page},
		"expired":               {folderOf(expired)},
		"a step behind":         {folderOf(before)},
		"rotten metadata":       {rotten(t, m, "metadata")},
		"rotten documents":      {rotten(t, m, "images")},
		"rotten objects":        {rotten(t, m, "objects")},
		"nothing":               {none},
		"one of each, and more": {page, folderOf(expired), none, rotten(t, m, "metadata"), page, folderOf(before), rotten(t, m, "images"), rotten(t, m, "objects"), page},
	} {
		t.Run(name, func(t *testing.T) {
			m := *m
			m.T = t
			if n, err := newest(t, &m, root, &trusttest.Memory{B: seen.B}, later, append(list, good)...); n != 2 || err != nil {
				t.Errorf("a machine that saw version 2 sees %d, %v", n, err)
			}
			if name == "a step behind" {
				return // nothing tells a machine that saw nothing
			}
			if n, err := newest(t, &m, root, nil, later, append(list, good)...); n < 1 || err != nil {
				t.Errorf("a machine that saw nothing sees version %d, %v", n, err)
			}
		})
	}
	if n, err := newest(t, m, root, seen, later, page, folderOf(expired), none); n != 0 || err == nil {
		t.Errorf("no mirror is right, and a machine sees version %d", n)
	}
}

// TestBehind: who knows that there must be something newer turns to the next mirror.
func TestBehind(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	before := m.CopyTree()
	m.Publish()
	m.Sign(trusttest.Start)
	src := mirrors(t, folderOf(before), folderOf(m))
	for want := 1; want <= 2; want++ {
		s, err := trusttest.Open(t, m.Root(), nil, src, trusttest.Start)
		m.Must(err)
		if x, err := image.LoadIndex(t.Context(), s, "pc"); err != nil || x.Latest() != want {
			t.Fatalf("%v, %v; want version %d", x, err, want)
		}
		if more := s.Behind(); more != (want == 1) {
			t.Errorf("version %d: there is another mirror: %v", want, more)
		}
	}
}
