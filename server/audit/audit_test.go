package audit

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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

func TestAddAfterCrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Add(Entry{Who: "a\n{}", Action: "login", Detail: strings.Repeat("x", 5000), Result: "ok"}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	b, _ := os.ReadFile(path)
	if err := os.WriteFile(path, append(b, `{"time":"20`...), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(path); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Add(Entry{Action: "promote", Result: "ok"}); err != nil {
		t.Fatal(err)
	}
	all := entries(t, path)
	if len(all) != 2 || all[0].Who != "a\n{}" || len(all[0].Detail) != textMost || all[1].Action != "promote" || all[1].Time.IsZero() {
		t.Errorf("%+v", all)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), sizeMost), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Add(Entry{Action: "promote"}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path + ".1")
	if err != nil || info.Size() <= sizeMost || len(entries(t, path)) != 1 {
		t.Errorf("%v, %v, %v", info, err, entries(t, path))
	}
}

func TestHandler(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := l.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}), "token", func(err error) { t.Error(err) })
	for _, r := range []*http.Request{httptest.NewRequest("GET", "/x", nil), httptest.NewRequest("POST", "/yes", strings.NewReader(`{"room":"B204"}`)), httptest.NewRequest("POST", "/no", nil)} {
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	all := entries(t, path)
	if len(all) != 2 || all[0].Who != "token" || all[0].Detail != `{"room":"B204"}` || all[0].Result != "ok" || all[1].Who != "" || all[1].Result != "Unauthorized" {
		t.Errorf("%+v", all)
	}
}
