package server

import (
	"bytes"
	"log"
	"time"

	"troy/server/limit"
)

// faultsPerMinute is how many handshakes of a party that came to nothing are told.
const faultsPerMinute = 6

// faults passes on what net/http says of connections. Everybody can make handshakes fail: one who
// goes on must not fill the journal.
type faults struct {
	to   *log.Logger
	told *limit.Limiter
}

// Write implements io.Writer for a log.Logger.
func (f *faults) Write(p []byte) (int, error) {
	if rest, ok := bytes.CutPrefix(p, []byte("http: TLS handshake error from ")); ok {
		from, _, _ := bytes.Cut(rest, []byte(": "))
		if f.told.Take(limit.PartyOf(string(from)), time.Now()) > 0 {
			return len(p), nil
		}
	}
	f.to.Print(string(p))
	return len(p), nil
}
