package netfetch

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"troy/internal/testing/fetchtest"
)

func TestGet(t *testing.T) { synctest.Test(t, testGet) }

func testGet(t *testing.T) {
	data := fetchtest.Random(t, 5000)
	s, h := serve(t, data)
	s.Next(fetchtest.Cut(100), fetchtest.Busy(503, ""), fetchtest.Stall(10))
	got, err := h.Get(t.Context(), object, 5000)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("Get = %d bytes, %v", len(got), err)
	}
	for _, fault := range []fetchtest.Fault{nil, fetchtest.Endless()} {
		s.Always(fault)
		if got, err := h.Get(t.Context(), object, 4999); got != nil || !errors.Is(err, ErrTooLarge) {
			t.Errorf("Get with a lower limit = %d bytes, %v", len(got), err)
		}
	}
	s.Always(nil)
	if _, err := h.Get(t.Context(), "missing", 10); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of a missing object: %v", err)
	}
}

func TestPostJSON(t *testing.T) { synctest.Test(t, testPostJSON) }

func testPostJSON(t *testing.T) {
	type message struct{ Text string }
	var calls int
	h := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		switch {
		case r.URL.Path == "/refuse":
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(400)
			fmt.Fprint(w, `{"error":"machine: neither macs nor uuid"}`)
		case r.URL.Path == "/redirect":
			http.Redirect(w, r, "/echo", http.StatusTemporaryRedirect)
		case r.URL.Path == "/extra":
			fmt.Fprint(w, `{"Text":"a","Wipe":true}`)
		case r.URL.Path == "/case":
			fmt.Fprint(w, `{"text":"a"}`)
		case r.URL.Path == "/two":
			fmt.Fprint(w, `{"Text":"a"}{"Text":"b"}`)
		case calls == 1:
			http.Error(w, "later", http.StatusServiceUnavailable)
		default:
			b := new(bytes.Buffer)
			b.ReadFrom(r.Body)
			w.Write(b.Bytes())
		}
	}), "", quick())
	var out message
	if err := h.PostJSON(t.Context(), "echo", message{"hello"}, &out); err != nil || out.Text != "hello" || calls != 2 {
		t.Errorf("PostJSON = %+v, %v after %d calls", out, err, calls)
	}
	for path, want := range map[string]error{"refuse": ErrRefused, "redirect": ErrProtocol, "extra": nil, "case": ErrProtocol, "two": ErrProtocol} {
		err := h.PostJSON(t.Context(), path, message{}, &out)
		if !errors.Is(err, want) {
			t.Errorf("PostJSON to %s = %v, want %v", path, err, want)
		}
		if path == "refuse" && !strings.HasSuffix(err.Error(), "400 Bad Request (machine: neither macs nor uuid)") {
			t.Errorf("PostJSON to refuse = %q", err)
		}
	}
}
