package inbox_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/image"
	"troy/image/capture"
	"troy/internal/testing/goldenpc"
	"troy/internal/testing/imagetest"
	"troy/internal/tlskey"
	"troy/server/inbox"
)

const pagesOfDisk = 1300

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// orders name the machines that may capture.
type orders map[string]string

func (o orders) Allowed(key string) (string, bool) { host, ok := o[key]; return host, ok }

// machine is a client with a key.
type machine struct {
	*http.Client
	key string
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	k, err := tlskey.New()
	must(t, err)
	name, err := k.Name()
	must(t, err)
	c, err := k.Certificate()
	must(t, err)
	config := tlskey.Unverified()
	config.Certificates = []tls.Certificate{c}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	t.Cleanup(client.CloseIdleConnections)
	return &machine{client, name}
}

// serve serves a store of inboxes by TLS as troy serve does.
func serve(t testing.TB, o *inbox.Options, may inbox.Orders) (url string, s *inbox.Store) {
	t.Helper()
	s = inbox.New(o)
	h, err := inbox.Handler(s, may)
	must(t, err)
	k, err := tlskey.New()
	must(t, err)
	c, err := k.Certificate()
	must(t, err)
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = tlskey.Server(&c, func() *tls.Certificate { return &c })
	srv.StartTLS()
	t.Cleanup(func() { srv.Close(); must(t, s.Close()) })
	return srv.URL, s
}

// line loses the connection after some calls, and flips bits of pieces on the way.
type line struct {
	capture.Doer
	r    *rand.Rand
	left int // calls; negative: never lost
	bent int
}

var errLost = errors.New("the line is cut")

func (l *line) Do(r *http.Request) (*http.Response, error) {
	if l.left == 0 {
		return nil, errLost
	}
	l.left--
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		if r.Header.Get("Content-Type") == "application/octet-stream" && l.r.IntN(5) == 0 {
			b[len(b)/2] ^= 4
			l.bent++
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
	}
	return l.Doer.Do(r)
}

// TestUpload sends random sessions over lines that are cut and that damage what they carry, to a
// server that is started again in between. What is in the inbox then is the session.
func TestUpload(t *testing.T) {
	held, bent := int64(0), 0
	for seed := range uint64(imagetest.Soak(2)) {
		r := imagetest.Seeded(t, seed)
		pc := goldenpc.Random(t, r, pagesOfDisk, imagetest.NewStore(t))
		s, m, dir := pc.Session(t), newMachine(t), filepath.Join(t.TempDir(), "inbox")
		for try := 1; ; try++ {
			url, _ := serve(t, &inbox.Options{Dir: dir, Spare: -1}, orders{m.key: "golden"})
			l := &line{m, r, 2 + try + r.IntN(3), 0}
			if try > 8 {
				l.left = -1
			}
			sent, err := capture.Upload(t.Context(), l, url, s, nil)
			held, bent = held+sent.Held, bent+l.bent
			if err == nil {
				break
			}
			if !errors.Is(err, errLost) && !errors.Is(err, capture.ErrPiece) || try > 12 {
				t.Fatal(err)
			}
		}
		checkInbox(t, pc, s, m.key, dir)
	}
	if held == 0 || bent == 0 {
		t.Errorf("%d pieces were there already, %d were damaged: this proves nothing", held, bent)
	}
}

// checkInbox compares an inbox with the session.
func checkInbox(t *testing.T, pc *goldenpc.PC, s *capture.Session, key, dir string) {
	t.Helper()
	list, err := inbox.List(dir)
	must(t, err)
	if len(list) != 1 || list[0].ID != s.ID || !list[0].Finished || list[0].Stale || list[0].Host != "golden" || list[0].Key != key || list[0].Err != nil {
		t.Fatalf("listed %+v", list)
	}
	f, err := inbox.Open(dir, s.ID)
	must(t, err)
	defer f.Close()
	must(t, f.Verify(t.Context(), nil))
	if !f.About.Same(&s.About) || !f.Totals.Same(&list[0].Totals) {
		t.Errorf("about %+v, totals %+v", f.About, f.Totals)
	}
	i := 0
	for p, err := range s.Pieces(t.Context()) {
		must(t, err)
		if i == len(f.Pieces) || f.Pieces[i] != p.Masks {
			t.Fatalf("piece %d is not that of region %d", i, p.Region)
		}
		i++
		for page := range capture.PerRegion {
			if !p.Data.Has(page) {
				continue
			}
			at, b := p.Region*image.RegionSize+int64(page)*image.PageSize, make([]byte, image.PageSize)
			if _, err := f.Pages.ReadAt(b, at); err != nil || !bytes.Equal(b, pc.Disk[at:at+image.PageSize]) {
				t.Fatalf("page at %d differs (%v)", at, err)
			}
		}
	}
	if i != len(f.Pieces) {
		t.Errorf("%d pieces, want %d", len(f.Pieces), i)
	}
}

// send makes one call and returns the status and what is said.
func send(t *testing.T, c *http.Client, method, url string, body []byte) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, bytes.NewReader(body))
	must(t, err)
	res, err := c.Do(r)
	must(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, string(b)
}

const (
	id    = "11111111-2222-4333-8444-555555555555"
	about = `{"format":1,"image":"pc","version":1,"manifest":"1111111111111111111111111111111111111111111111111111111111111111","virtual_size":4194304,"sector_size":512}`
)

func encode(t *testing.T, p *capture.Piece) []byte {
	t.Helper()
	e, err := capture.NewEncoder()
	must(t, err)
	return bytes.Clone(e.Encode(p, p.Sum()))
}

func onePage(region int64, fill byte) *capture.Piece {
	p := &capture.Piece{Masks: capture.Masks{Region: region}, Pages: bytes.Repeat([]byte{fill}, image.PageSize)}
	p.Data.Set(7)
	return p
}

// TestAnswers goes through what a server answers.
func TestAnswers(t *testing.T) {
	golden, other, stranger := newMachine(t), newMachine(t), newMachine(t)
	may := orders{golden.key: "golden", other.key: "other"}
	dir := filepath.Join(t.TempDir(), "inbox")
	url, s := serve(t, &inbox.Options{Dir: dir, Spare: -1}, may)
	at, one := url+capture.Prefix+id, onePage(1, 9)
	bad := encode(t, one)
	bad[len(bad)-1] ^= 1
	totals := func(regions ...*capture.Piece) []byte {
		h := &capture.Held{}
		for _, p := range regions {
			h.Pieces = append(h.Pieces, capture.RegionSum{Region: p.Region, Sum: p.Sum()})
		}
		sum := h.Totals()
		return fmt.Appendf(nil, `{"format":1,"pieces":%d,"data_pages":%d,"unused_pages":0,"sum":"%s"}`, len(regions), len(regions), sum.Sum)
	}
	keyless := &http.Client{Transport: &http.Transport{TLSClientConfig: tlskey.Unverified()}}
	defer keyless.CloseIdleConnections()
	for i, c := range []struct {
		who          *http.Client
		method, path string
		body         []byte
		want         int
		says         string
	}{
		{keyless, "PUT", "", []byte(about), 403, "no order"},
		{stranger.Client, "PUT", "", []byte(about), 403, "no order"},
		{golden.Client, "GET", "", nil, 404, "no such capture"},
		{golden.Client, "PUT", "/1", encode(t, one), 404, "no such capture"},
		{golden.Client, "PUT", "", []byte("{"), 422, "malformed"},
		{golden.Client, "PUT", "", []byte(strings.Replace(about, `"pc"`, `"../pc"`, 1)), 422, "invalid"},
		{golden.Client, "PUT", "", []byte(strings.Replace(about, `"format":1`, `"format":1,"needs":["other"]`, 1)), 422, "other"},
		{golden.Client, "PUT", "x", []byte(about), 404, "no such capture"},
		{golden.Client, "PUT", "", []byte(about), 200, ""},
		{golden.Client, "PUT", "", []byte(about), 200, ""},
		{golden.Client, "PUT", "", []byte(strings.Replace(about, `"version":1`, `"version":2`, 1)), 409, "it stands on pc version 1"},
		{other.Client, "PUT", "", []byte(about), 403, "another machine's"},
		{other.Client, "GET", "", nil, 403, "another machine's"},
		{other.Client, "PUT", "/1", encode(t, one), 403, "another machine's"},
		{other.Client, "PUT", "/finish", totals(one), 403, "another machine's"},
		{stranger.Client, "PUT", "/1", encode(t, one), 403, "no order"},
		{golden.Client, "PUT", "/1", bad, 422, "not a piece"},
		{golden.Client, "PUT", "/1", nil, 422, "not a piece"},
		{golden.Client, "PUT", "/2", encode(t, one), 422, "region 1 sent as"},
		{golden.Client, "PUT", "/4", encode(t, onePage(4, 1)), 422, "region 4 of a disk"},
		{golden.Client, "PUT", "/1", make([]byte, capture.MaxPiece+1), 413, "too large"},
		{golden.Client, "PUT", "/finish", totals(one), 409, "the machine sent 1 pieces"},
		{golden.Client, "PUT", "/1", encode(t, onePage(1, 3)), 200, ""},
		{golden.Client, "PUT", "/1", encode(t, one), 200, ""},
		{golden.Client, "PUT", "/1", encode(t, one), 200, ""},
		{golden.Client, "PUT", "/3", encode(t, onePage(3, 3)), 200, ""},
		{golden.Client, "PUT", "/3", encode(t, &capture.Piece{Masks: capture.Masks{Region: 3}}), 200, ""},
		{golden.Client, "POST", "/1", nil, 405, ""},
		{golden.Client, "PUT", "/finish", totals(one), 200, ""},
		{golden.Client, "PUT", "/finish", totals(one), 200, ""},
		{golden.Client, "PUT", "/1", encode(t, one), 200, ""},
		{golden.Client, "PUT", "/2", encode(t, onePage(2, 3)), 409, "finished"},
		{golden.Client, "PUT", "/finish", totals(one, onePage(2, 3)), 409, "another one"},
	} {
		code, said := send(t, c.who, c.method, at+c.path, c.body)
		if code != c.want || !strings.Contains(said, c.says) || strings.Count(said, "\n") > 1 {
			t.Errorf("call %d, %s %s: %d %s, want %d %s", i, c.method, c.path, code, said, c.want, c.says)
		}
	}
	h, err := s.Held(id, golden.key)
	must(t, err)
	if sum, ok := h.Sum(1); !h.Finished || len(h.Pieces) != 1 || !ok || sum != one.Sum() {
		t.Errorf("held %+v", h)
	}
	delete(may, golden.key) // the order ends
	if code, _ := send(t, golden.Client, "GET", at, nil); code != 403 {
		t.Errorf("after the order: %d", code)
	}
}

// TestRemoved: an inbox that the admin removes under a running server is gone for it, and may begin
// again.
func TestRemoved(t *testing.T) {
	golden := newMachine(t)
	dir := filepath.Join(t.TempDir(), "inbox")
	url, _ := serve(t, &inbox.Options{Dir: dir, Spare: -1}, orders{golden.key: "golden"})
	at := url + capture.Prefix + id
	for range 2 {
		if code, said := send(t, golden.Client, "PUT", at, []byte(about)); code != 200 {
			t.Fatal(said)
		}
		if code, said := send(t, golden.Client, "PUT", at+"/1", encode(t, onePage(1, 1))); code != 200 {
			t.Fatal(said)
		}
		must(t, inbox.Remove(dir, id))
		if code, _ := send(t, golden.Client, "PUT", at+"/1", encode(t, onePage(1, 1))); code != 404 {
			t.Errorf("a removed inbox answers %d", code)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left over: %v %v", left, err)
		}
	}
	must(t, os.MkdirAll(filepath.Join(dir, "new-"+id, "x"), 0o700)) // of a kill
	if code, said := send(t, golden.Client, "PUT", at, []byte(about)); code != 200 {
		t.Fatal(said)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != id {
		t.Errorf("left over: %v %v", left, err)
	}
	must(t, inbox.Remove(dir, id))
	for _, name := range []string{"..", "new-" + id, strings.ToUpper(id), ""} {
		if err := inbox.Remove(dir, name); !errors.Is(err, inbox.ErrNone) {
			t.Errorf("removing %q: %v", name, err)
		}
	}
}
