// Package answer writes the answers of all calls by HTTP: a JSON value, or a protocol.Failure of one
// line.
package answer

import (
	"encoding/json"
	"net/http"
	"strings"

	"troy/server/protocol"
)

// JSON sends a value with that status. Proxies must not keep it.
func JSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

// Failure sends an error as one line with that status.
func Failure(w http.ResponseWriter, status int, err error) {
	JSON(w, status, protocol.Failure{Error: strings.ReplaceAll(err.Error(), "\n", "; ")})
}
