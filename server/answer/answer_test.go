package answer

import (
	"errors"
	"net/http/httptest"
	"testing"
)

func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		send func(w *httptest.ResponseRecorder)
		code int
		body string
	}{
		"value":   {func(w *httptest.ResponseRecorder) { JSON(w, 200, []int{1, 2}) }, 200, "[1,2]\n"},
		"failure": {func(w *httptest.ResponseRecorder) { Failure(w, 404, errors.New("gone")) }, 404, `{"error":"gone"}` + "\n"},
		"two failures on one line": {func(w *httptest.ResponseRecorder) {
			Failure(w, 500, errors.Join(errors.New("a"), errors.New("b")))
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
