package memnet

import (
	"errors"
	"io"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestServe asks a server that answers after an hour: time goes on, and it is refused once the
// server is gone.
func TestServe(t *testing.T) { synctest.Test(t, testServe) }

func testServe(t *testing.T) {
	var n Net
	s := n.Serve(t, "127.0.0.1:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Hour)
		io.WriteString(w, r.RemoteAddr)
	}))
	c := &http.Client{Transport: &http.Transport{DialContext: n.Dial}}
	begin := time.Now()
	r, err := c.Get("http://127.0.0.1:80/")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil || string(b) != "10.0.0.1:1" || time.Since(begin) != time.Hour {
		t.Errorf("%q, %v after %v", b, err, time.Since(begin))
	}
	if _, err := n.Listen("127.0.0.1:80"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listening twice: %v", err)
	}
	s.Close()
	if _, err := c.Get("http://127.0.0.1:80/"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a server that is gone: %v", err)
	}
	if _, err := n.Listen("127.0.0.1:80"); err != nil {
		t.Errorf("listening again: %v", err)
	}
}
