package server

import (
	"errors"
	"net"
	"net/http"
	"time"

	"troy/server/jsonhttp"
	"troy/server/limit"
)

// burstTime is the time whose calls an address may make at once after a pause.
const burstTime = 10 * time.Second

// errTooMany is the answer to an address that calls too often.
var errTooMany = errors.New("too many calls from this address")

// newLimiter returns nil, which does not limit, for 0 calls per second or less.
func newLimiter(perSecond float64) *limit.Limiter {
	if perSecond <= 0 {
		return nil
	}
	return limit.New(perSecond, int(max(1, perSecond*burstTime.Seconds())))
}

// limited puts a call under the limit of its address.
func (s *Server) limited(call http.HandlerFunc) http.HandlerFunc {
	if s.limiter == nil {
		return call
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if s.limiter.Take(limit.PartyOf(r.RemoteAddr), time.Now()) > 0 {
			w.Header().Set("Retry-After", "5")
			s.refuse(w, r, http.StatusTooManyRequests, errTooMany)
			return
		}
		call(w, r)
	}
}

// refuse answers a call that is not accepted, and reports it to OnRefused.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, err error) {
	if s.o.OnRefused != nil {
		s.o.OnRefused(machineOf(r.RemoteAddr), r.URL.Path, err)
	}
	jsonhttp.Fail(w, status, err)
}

// machineOf returns what identifies a machine: its address without the port.
func machineOf(remoteAddr string) string {
	host, _, err := net.SplitHostPort(remoteAddr)
	if err != nil {
		return remoteAddr
	}
	return host
}
