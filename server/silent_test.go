package server

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"troy/internal/testing/memnet"
)

// TestSilentConnections: one client that opens connections and says nothing gets its share and no
// more, loses them when their time is up, and can then speak.
func TestSilentConnections(t *testing.T) { synctest.Test(t, testSilentConnections) }

func testSilentConnections(t *testing.T) {
	var n memnet.Net
	l, err := n.Listen("127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, http.HandlerFunc(serveHealth)) }()
	dial := func() net.Conn {
		c, err := n.Dial(ctx, "tcp", "127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	silent := make([]net.Conn, connsEach)
	for i := range silent {
		silent[i] = dial()
	}
	synctest.Wait()
	begin := time.Now()
	for range 10 {
		if _, err := dial().Read(make([]byte, 1)); err != io.EOF || time.Since(begin) != 0 {
			t.Fatalf("one connection too many: %v after %v", err, time.Since(begin))
		}
	}
	for _, c := range silent {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Fatal(err)
		}
	}
	if took := time.Since(begin); took != readTime {
		t.Errorf("connections without a request end after %v", took)
	}
	c := client(t, &n)
	r, err := c.Get(inMemory)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("afterwards: %v, %v", r, err)
	}
	r.Body.Close()
	c.CloseIdleConnections()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// slowly reads a little now and then.
type slowly struct{ io.Reader }

func (s slowly) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	return s.Reader.Read(p[:min(len(p), 8<<10)])
}

// TestPacedIsNotCut: what is served beside the store comes whole to a client that is slow, whether a
// rate is kept or not.
func TestPacedIsNotCut(t *testing.T) {
	for name, rate := range map[string]int64{"no rate": 0, "a rate": 10 << 20} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testPacedIsNotCut(t, rate) }) })
	}
}

func testPacedIsNotCut(t *testing.T, rate int64) {
	dir, pack := store(t)
	s, err := New(&Options{Dir: dir, Orders: &fixed{}, Bandwidth: rate})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var n memnet.Net
	web := n.Serve(t, "127.0.0.1:80", s.Paced(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "kernel", time.Time{}, bytes.NewReader(pack))
	})))
	web.ReadTimeout, web.WriteTimeout = readTime, sliceTime
	begin := time.Now()
	r, err := client(t, &n).Get(inMemory)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	got, err := io.ReadAll(slowly{r.Body})
	if took := time.Since(begin); err != nil || !bytes.Equal(got, pack) || took < 5*sliceTime {
		t.Errorf("%d of %d bytes in %v: %v", len(got), len(pack), took, err)
	}
}
