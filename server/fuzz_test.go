package server

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"troy/server/protocol"
)

// FuzzCalls sends anything as the body of both calls: the answer is always JSON of one line, and
// an order only for a valid message.
func FuzzCalls(f *testing.F) {
	s, err := New(&Options{Dir: f.TempDir(), Orders: &fixed{Image: "win11", Version: 2}})
	if err != nil {
		f.Fatal(err)
	}
	defer s.Close()
	for _, m := range []any{
		protocol.CheckIn{Protocol: protocol.Version, Machine: machine, Version: 1},
		protocol.Report{Protocol: protocol.Version, Machine: machine, Outcome: protocol.OutcomeDone, Steps: []protocol.Step{{Kind: "stage"}}},
	} {
		b, err := json.Marshal(m)
		if err != nil || len(b) < 50 {
			f.Fatal(err, len(b))
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, path := range []string{protocol.PathCheckIn, protocol.PathReport} {
			r := httptest.NewRequest(http.MethodPost, "/"+path, bytes.NewReader(b))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			body := w.Body.Bytes()
			if !json.Valid(body) || bytes.Count(body, []byte("\n")) != 1 {
				t.Errorf("%s %q: answer %q", path, b, body)
			}
			if w.Code != 200 && w.Code != 400 && w.Code != 413 {
				t.Errorf("%s %q: status %d", path, b, w.Code)
			}
		}
	})
}

// FuzzPaths asks for any name: nothing but the one published file is ever served.
func FuzzPaths(f *testing.F) {
	dir := f.TempDir()
	store, err := New(&Options{Dir: dir, Orders: &fixed{Image: "a", Version: 1}})
	if err != nil {
		f.Fatal(err)
	}
	defer store.Close()
	f.Fuzz(func(t *testing.T, name string) {
		r := httptest.NewRequest(http.MethodGet, "/repo/x", nil)
		r.URL.Path = "/repo/" + name
		w := httptest.NewRecorder()
		store.ServeHTTP(w, r)
		if w.Code == http.StatusOK {
			t.Errorf("an empty store serves %q: %q", name, w.Body)
		}
	})
}
