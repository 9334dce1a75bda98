package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"troy/server/protocol"
)

// TestKeep: a report that could not be made durable is not acknowledged and not told; the repeat
// is. One of a machine that did not check in is refused.
func TestKeep(t *testing.T) {
	dir, _ := store(t)
	var kept, told int
	full := true
	_, web := newServer(t, Options{Dir: dir, OnReport: func(protocol.Peer, protocol.Report) { told++ },
		Keep: func(_ context.Context, _ protocol.Peer, r protocol.Report) error {
			if full {
				return errors.New("the disk is full")
			}
			if r.ID == "2" {
				return fmt.Errorf("no: %w", protocol.ErrStranger)
			}
			kept++
			return nil
		},
		Admin: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) }),
	})
	post := func(id string) *http.Response {
		t.Helper()
		r, err := http.Post(web.URL+"/"+protocol.PathReport, "application/json",
			strings.NewReader(fmt.Sprintf(`{"protocol":%d,"id":%q,"machine":{"ports":[{"mac":"52:54:00:12:34:56"}]},"outcome":"done","exit_code":0}`, protocol.Version, id)))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		return r
	}
	if r := post("1"); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" || told != 0 {
		t.Errorf("%s, told %d", r.Status, told)
	}
	full = false
	for range 2 {
		if r := post("1"); r.StatusCode != http.StatusOK {
			t.Error(r.Status)
		}
	}
	if r := post("2"); r.StatusCode != http.StatusForbidden || r.Header.Get("Retry-After") != "" {
		t.Errorf("a report in the name of another machine: %s", r.Status)
	}
	if kept != 2 || told != 1 {
		t.Errorf("kept %d, told %d", kept, told)
	}
	r, err := http.Get(web.URL + "/v1/admin/status")
	if err != nil || r.StatusCode != http.StatusTeapot {
		t.Errorf("admin: %v, %v", r, err)
	}
	if err == nil {
		r.Body.Close()
	}
}
