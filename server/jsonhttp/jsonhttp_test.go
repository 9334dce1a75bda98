package jsonhttp

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	for name, c := range map[string]struct {
		send func(w *httptest.ResponseRecorder)
		code int
		body string
	}{
		"value":   {func(w *httptest.ResponseRecorder) { Write(w, 200, []int{1, 2}) }, 200, "[1,2]\n"},
		"failure": {func(w *httptest.ResponseRecorder) { Fail(w, 404, errors.New("gone")) }, 404, `{"error":"gone"}` + "\n"},
		"two failures on one line": {func(w *httptest.ResponseRecorder) {
			Fail(w, 500, errors.Join(errors.New("a"), errors.New("b")))
		}, 500, `{"error":"a; b"}` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			c.send(w)
			if w.Code != c.code || w.Body.String() != c.body {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, c.code, c.body)
			}
			if h := w.Header(); h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", h)
			}
		})
	}
}

func TestRead(t *testing.T) {
	for body, want := range map[string]string{
		`{"a":1}`:          "",
		` {"a":1} ` + "\n": "",
		``:                 "EOF",
		`{`:                "unexpected EOF",
		`{"a":1} {}`:       "after top-level value",
		`{"a":1} x`:        "after top-level value",
		`{"a":1,"b":2}`:    `unknown object member name "b"`,
		`{"A":1}`:          `unknown object member name "A"`,
		`{"a":1,"a":1}`:    `duplicate object member name "a"`,
		"{\"\xff\":1}":     "invalid UTF-8",
		`[]`:               "unmarshal JSON array",
	} {
		var v struct {
			A int `json:"a"`
		}
		err := Read(strings.NewReader(body), &v)
		if want == "" && (err != nil || v.A != 1) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %+v, %v, want %q", body, v, err, want)
		}
	}
}
