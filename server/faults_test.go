package server

import (
	"bytes"
	"context"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"

	"troy/server/limit"
)

// TestFaults: of handshakes that one party lets fail a few are told, and all else.
func TestFaults(t *testing.T) {
	var b bytes.Buffer
	l := log.New(&faults{log.New(&b, "", 0), limit.New(faultsPerMinute/60.0, faultsPerMinute)}, "", 0)
	for range 1000 {
		l.Print("http: TLS handshake error from 192.0.2.7:4000: EOF")
		l.Print("http: TLS handshake error from [2001:db8::7]:4000: EOF")
	}
	l.Print("http: panic serving 192.0.2.7:4000: oh")
	if n := strings.Count(b.String(), "\n"); n != 2*faultsPerMinute+1 || !strings.HasSuffix(b.String(), "oh\n") {
		t.Errorf("%d lines: %s", n, b.String())
	}
}

// TestServeFaults: what a handler's panic says is told.
func TestServeFaults(t *testing.T) {
	var b bytes.Buffer
	defer log.SetOutput(log.Writer())
	log.SetOutput(&b)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oh") }))
	}()
	if r, err := http.Get("http://" + l.Addr().String()); err == nil {
		r.Body.Close()
		t.Errorf("the panic is answered by %s", r.Status)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !strings.Contains(b.String(), "panic serving") {
		t.Errorf("told: %q", b.String())
	}
}
