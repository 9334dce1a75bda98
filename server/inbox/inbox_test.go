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
	"time"

	"troy/image"
	"troy/image/capture"
	"troy/image/publish"
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

// TestFull: a bound and a full disk are 507, keep what is there, and end when there is room.
func TestFull(t *testing.T) {
	golden := newMachine(t)
	dir := filepath.Join(t.TempDir(), "inbox")
	const second = "22222222-2222-4333-8444-555555555555"
	for name, o := range map[string]*inbox.Options{
		"bound": {Dir: dir, Spare: -1, Most: 3 * image.PageSize}, "disk": {Dir: dir, Spare: 1 << 60},
	} {
		must(t, os.RemoveAll(dir))
		roomy, _ := serve(t, &inbox.Options{Dir: dir, Spare: -1}, orders{golden.key: "golden"})
		tight, _ := serve(t, o, orders{golden.key: "golden"})
		put := func(url, id string, region int64) (int, string) {
			return send(t, golden.Client, "PUT", fmt.Sprintf("%s%s%s/%d", url, capture.Prefix, id, region), encode(t, onePage(region, byte(region+1))))
		}
		for _, id := range []string{id, second} {
			if code, said := send(t, golden.Client, "PUT", roomy+capture.Prefix+id, []byte(about)); code != 200 {
				t.Fatal(said)
			}
		}
		for region := range int64(2) {
			if code, said := put(roomy, id, region); code != 200 {
				t.Fatal(said)
			}
		}
		if code, said := put(roomy, second, 0); code != 200 {
			t.Fatal(said)
		}
		if code, said := put(tight, id, 2); code != 507 || !strings.Contains(said, "no room for more of the capture: ") {
			t.Errorf("%s: %d %s", name, code, said)
		}
		if code, said := put(tight, id, 1); code != 200 { // it is there
			t.Errorf("%s: %d %s", name, code, said)
		}
		must(t, inbox.Remove(dir, second))
		if code, said := put(tight, id, 2); (code == 200) != (name == "bound") {
			t.Errorf("%s: after one was removed: %d %s", name, code, said)
		}
	}
}

// TestReplaced: pieces that are replaced again and again do not fill the disk with the log.
func TestReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "inbox")
	s := inbox.New(&inbox.Options{Dir: dir, Spare: -1})
	defer s.Close()
	var session capture.About
	must(t, capture.AboutKind.Read([]byte(about), &session))
	key := strings.Repeat("1", 64)
	must(t, s.Begin(id, key, "golden", &session))
	for i := range 200 {
		p := &capture.Piece{Masks: capture.Masks{Region: 1}}
		p.Unused.Set(i)
		switch err := s.Put(id, key, p, p.Sum()); {
		case errors.Is(err, inbox.ErrFull) && i > 20:
			return
		case err != nil:
			t.Fatal(err)
		}
	}
	t.Error("there is no end")
}

// BenchmarkUpload sends a session of 64 MiB that does not compress, by TLS, to a disk that is flushed.
func BenchmarkUpload(b *testing.B) {
	golden, dir := newMachine(b), filepath.Join(b.TempDir(), "inbox")
	url, _ := serve(b, &inbox.Options{Dir: dir, Spare: -1}, orders{golden.key: "golden"})
	r := imagetest.Seeded(b, 1)
	now := make([]byte, 64<<20)
	imagetest.Fill(r, now)
	base, guid := goldenpc.Base(b, b.TempDir(), make([]byte, len(now)))
	store := imagetest.NewStore(b)
	m, err := publish.Import(b.Context(), store, "pc", (&imagetest.State{Data: make([]byte, len(now)), ID: guid}).Disk(nil), nil)
	must(b, err)
	v := goldenpc.VersionOf(b, store, m)
	chain := goldenpc.Open(b, goldenpc.Child(b, base, "boot.vhdx", now, []image.Range{{Length: int64(len(now))}}))
	s, err := capture.Open(b.Context(), chain, &v, imagetest.Filter{})
	must(b, err)
	b.SetBytes(int64(len(now)))
	for b.Loop() {
		must(b, os.RemoveAll(dir))
		sent, err := capture.Upload(b.Context(), golden, url, s, nil)
		must(b, err)
		if sent.Pieces != 64 {
			b.Fatalf("%d pieces were sent", sent.Pieces)
		}
	}
}

// TestDamaged: what a disk lost is found before it is published, and a log whose end is torn has what
// is before it.
func TestDamaged(t *testing.T) {
	golden := newMachine(t)
	dir := filepath.Join(t.TempDir(), "inbox")
	s := inbox.New(&inbox.Options{Dir: dir, Spare: -1})
	defer s.Close()
	var session capture.About
	must(t, capture.AboutKind.Read([]byte(about), &session))
	must(t, s.Begin(id, golden.key, "golden", &session))
	for r := range int64(3) {
		p := onePage(r, byte(r))
		must(t, s.Put(id, golden.key, p, p.Sum()))
	}
	if _, err := inbox.Open(dir, id); !errors.Is(err, inbox.ErrUnfinished) {
		t.Errorf("an unfinished one opens: %v", err)
	}
	log := filepath.Join(dir, id, "log")
	must(t, os.Truncate(log, 128*2+50))
	again := inbox.New(&inbox.Options{Dir: dir, Spare: -1})
	defer again.Close()
	if h, err := again.Held(id, golden.key); err != nil || len(h.Pieces) != 2 {
		t.Fatalf("of a torn log %+v, %v", h, err)
	}
	p := onePage(2, 2)
	must(t, again.Put(id, golden.key, p, p.Sum()))
	h, err := again.Held(id, golden.key)
	must(t, err)
	totals := h.Totals()
	totals.Data = 3
	must(t, again.Finish(id, golden.key, &totals))
	f, err := inbox.Open(dir, id)
	must(t, err)
	defer f.Close()
	must(t, f.Verify(t.Context(), nil))
	pages, err := os.OpenFile(filepath.Join(dir, id, "pages"), os.O_WRONLY, 0)
	must(t, err)
	_, err = pages.WriteAt([]byte{77}, image.RegionSize+7*image.PageSize+100)
	must(t, errors.Join(err, pages.Close()))
	if err := f.Verify(t.Context(), nil); !errors.Is(err, inbox.ErrDamaged) || !strings.Contains(err.Error(), "region 1") {
		t.Errorf("a changed page: %v", err)
	}
	b, err := os.ReadFile(log)
	must(t, err)
	b[128+40] ^= 1
	must(t, os.WriteFile(log, b, 0o600))
	if _, err := inbox.Open(dir, id); !errors.Is(err, inbox.ErrUnfinished) {
		t.Errorf("a damaged log: %v", err)
	}
}

// TestStale: a newer capture of the same machine makes the older one stale, not one of another.
func TestStale(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "inbox")
	clock := time.Date(2031, 3, 1, 8, 0, 0, 0, time.UTC)
	s := inbox.New(&inbox.Options{Dir: dir, Spare: -1, Now: func() time.Time { clock = clock.Add(time.Second); return clock }})
	defer s.Close()
	var session capture.About
	must(t, capture.AboutKind.Read([]byte(about), &session))
	keys := []string{strings.Repeat("1", 64), strings.Repeat("2", 64)}
	for i, key := range []string{keys[0], keys[1], keys[0]} {
		must(t, s.Begin(fmt.Sprintf("%08d-2222-4333-8444-555555555555", i), key, "pc", &session))
	}
	list, err := inbox.List(dir)
	must(t, err)
	stale := map[string]bool{}
	for _, info := range list {
		stale[info.ID[:8]] = info.Stale
	}
	if len(list) != 3 || !stale["00000000"] || stale["00000001"] || stale["00000002"] {
		t.Errorf("stale %v", stale)
	}
	if none, err := inbox.List(filepath.Join(dir, "none")); err != nil || len(none) > 0 {
		t.Errorf("a folder that is not there: %v, %v", none, err)
	}
}
