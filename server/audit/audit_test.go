package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/server/limit"
)

func open(t *testing.T, path string) *Log {
	t.Helper()
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func add(t *testing.T, l *Log, all ...Entry) {
	t.Helper()
	for _, e := range all {
		if err := l.Add(e); err != nil {
			t.Fatal(err)
		}
	}
}

func entries(t *testing.T, path string) (all []Entry) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var e Entry
		if json.Unmarshal(line, &e) == nil {
			all = append(all, e)
		}
	}
	return all
}

// TestAdd: an entry is one bounded line, behind what a crash cut off.
func TestAdd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, []byte(`{"time":"20`), 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, path)
	long := strings.Repeat("ä", 5000)
	add(t, l, Entry{Who: "a\n{}", Action: "login", Detail: long, Result: "ok"}, Entry{Who: long, From: long, Action: long, Result: long})
	all := entries(t, path)
	if len(all) != 2 || all[0].Who != "a\n{}" || len(all[0].Detail) != detailMost || all[0].Time.IsZero() || len(all[1].Who+all[1].From+all[1].Action+all[1].Result) > 4*textMost+12 {
		t.Errorf("%+v", all)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

// TestRefused: what strangers try is told once a minute with its number, in a file of its own, which
// is bounded.
func TestRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(t, path)
	add(t, l, Entry{Who: "token", Action: "promote", Result: "ok"})
	begin := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	refuse := func(minute int, from, action string) {
		t.Helper()
		add(t, l, Entry{Time: begin.Add(time.Duration(minute) * time.Minute), From: from, Action: action, Detail: "guess", Result: "Unauthorized"})
	}
	for i := range 1000 {
		refuse(0, "10.0.0.1:"+fmt.Sprint(i+1), "login") // from many ports
		refuse(0, fmt.Sprintf("[2001:db8::%x]:1", i), "login")
	}
	refuse(0, "10.0.0.2:1", "login")
	for i := range 100 {
		refuse(1, "10.0.0.1:1", fmt.Sprint("POST /v1/admin/", i))
	}
	refuse(0, "10.0.0.1:1", "login") // the clock went back
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	tries := entries(t, filepath.Join(filepath.Dir(path), "audit-refused.jsonl"))
	counts := map[string]int{}
	for _, e := range tries {
		counts[limit.PartyOf(e.From).String()+" "+e.Action] += e.Count
	}
	if counts["10.0.0.1 login"] != 999 || counts["2001:db8:: login"] != 999 || counts["invalid IP various"] != 50 || len(tries) != 3+2+50+1+1 {
		t.Errorf("%d lines, %v", len(tries), counts)
	}
	if all := entries(t, path); len(all) != 1 || all[0].Who != "token" {
		t.Errorf("the acts: %+v", all)
	}

	l = open(t, path)
	for i := range 8 * refusedMost / (tellMost * detailMost) {
		for j := range tellMost {
			add(t, l, Entry{Time: begin.Add(time.Duration(i) * time.Hour), Action: fmt.Sprint(j), Detail: strings.Repeat("x", 2*detailMost)})
		}
	}
	held := int64(0)
	for _, name := range []string{"audit-refused.jsonl", "audit-refused.jsonl.1"} {
		info, err := os.Stat(filepath.Join(filepath.Dir(path), name))
		if err != nil {
			t.Fatal(err)
		}
		held += info.Size()
	}
	if held > 2*refusedMost+10*detailMost {
		t.Errorf("%d bytes of refused tries are kept", held)
	}
}

func TestHandler(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	l := open(t, path)
	h := l.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}), "token", func(err error) { t.Error(err) })
	for _, r := range []*http.Request{httptest.NewRequest("GET", "/x", nil), httptest.NewRequest("POST", "/yes", strings.NewReader(`{"room":"B204"}`)), httptest.NewRequest("POST", "/no", nil)} {
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	all, refused := entries(t, path), entries(t, path+"-refused")
	if len(all) != 1 || all[0].Who != "token" || all[0].Detail != `{"room":"B204"}` || all[0].Result != "ok" || len(refused) != 1 || refused[0].Result != "Unauthorized" {
		t.Errorf("%+v, refused %+v", all, refused)
	}
}
