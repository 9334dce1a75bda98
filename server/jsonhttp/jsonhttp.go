// Package jsonhttp reads and writes the bodies of all calls by HTTP: one JSON value, or a
// protocol.Failure of one line.
package jsonhttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"troy/server/protocol"
)

// Read takes exactly one JSON value with known members from r. The caller bounds r.
func Read(r io.Reader, v any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		if err != nil {
			return fmt.Errorf("JSON: %w", err)
		}
		return errors.New("JSON: more than one value")
	}
	return nil
}

// Write sends a value with that status. Proxies must not keep it.
func Write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

// Fail sends an error as one line with that status.
func Fail(w http.ResponseWriter, status int, err error) {
	Write(w, status, protocol.Failure{Error: strings.ReplaceAll(err.Error(), "\n", "; ")})
}
