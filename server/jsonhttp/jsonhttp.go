// Package jsonhttp reads and writes the bodies of all calls by HTTP: one JSON value, or a
// protocol.Failure of one line.
package jsonhttp

import (
	"io"
	"net/http"
	"strings"

	"troy/internal/format"
	"troy/server/protocol"
)

// Read takes exactly one JSON value with known members from r: of what an admin asks for nothing is
// left out. The caller bounds r.
func Read(r io.Reader, v any) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return format.Exact(b, v)
}

// Write sends a value with that status. Proxies must not keep it.
func Write(w http.ResponseWriter, status int, v any) {
	b, err := format.Marshal(v)
	if err != nil { // a type of this program that cannot be written
		Fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client may be gone
}

// Fail sends an error as one line with that status.
func Fail(w http.ResponseWriter, status int, err error) {
	Write(w, status, protocol.Failure{Error: strings.ReplaceAll(err.Error(), "\n", "; ")})
}
