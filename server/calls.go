package server

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"sync"

	"troy/internal/tlskey"
	"troy/server/jsonhttp"
	"troy/server/protocol"
)

// maxMachines bounds the machines whose last report is known.
const maxMachines = 10_000

func (s *Server) serveCheckIn(w http.ResponseWriter, r *http.Request) {
	c := receive(s, w, r, protocol.ReadCheckIn)
	if c == nil {
		return
	}
	order, err := s.o.Orders.Order(r.Context(), peerOf(r), *c)
	if err == nil {
		err = order.Validate()
	}
	if err == nil {
		order, err = order.For(c)
	}
	if s.o.OnCheckIn != nil {
		public := order
		public.Identity = order.Identity.Public()
		s.o.OnCheckIn(peerOf(r), *c, public, err)
	}
	if err != nil {
		w.Header().Set("Retry-After", "5")
		jsonhttp.Fail(w, http.StatusServiceUnavailable, err)
		return
	}
	jsonhttp.Write(w, http.StatusOK, order)
}

func (s *Server) serveProgress(w http.ResponseWriter, r *http.Request) {
	p := receive(s, w, r, protocol.ReadProgress)
	if p == nil {
		return
	}
	if s.o.OnProgress != nil {
		s.o.OnProgress(peerOf(r), *p)
	}
	jsonhttp.Write(w, http.StatusOK, protocol.Ack{Protocol: protocol.Version})
}

func (s *Server) serveReport(w http.ResponseWriter, r *http.Request) {
	report := receive(s, w, r, protocol.ReadReport)
	if report == nil {
		return
	}
	if s.o.Keep != nil {
		err := s.o.Keep(r.Context(), peerOf(r), *report)
		if errors.Is(err, protocol.ErrStranger) {
			s.refuse(w, r, http.StatusForbidden, err)
			return
		}
		if err != nil {
			w.Header().Set("Retry-After", "5")
			jsonhttp.Fail(w, http.StatusServiceUnavailable, err)
			return
		}
	}
	if s.reports.add(peerOf(r).Key+" "+report.Machine.String(), report.ID) && s.o.OnReport != nil {
		s.o.OnReport(peerOf(r), *report)
	}
	jsonhttp.Write(w, http.StatusOK, protocol.Ack{Protocol: protocol.Version})
}

// peerOf tells who sent a request.
func peerOf(r *http.Request) protocol.Peer {
	p := protocol.Peer{Addr: machineOf(r.RemoteAddr)}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		p.Key = tlskey.Of(r.TLS.PeerCertificates[0])
	}
	return p
}

// receive reads one message, or answers with the reason why it cannot and returns nil.
func receive[T any](s *Server, w http.ResponseWriter, r *http.Request, read func([]byte) (*T, error)) *T {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		s.refuse(w, r, http.StatusUnsupportedMediaType, errors.New("want Content-Type application/json"))
		return nil
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, protocol.MaxBody))
	if err == nil {
		var m *T
		if m, err = read(b); err == nil {
			return m
		}
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		s.refuse(w, r, http.StatusRequestEntityTooLarge, fmt.Errorf("the message is over %d bytes", tooLarge.Limit))
	} else {
		s.refuse(w, r, http.StatusBadRequest, err)
	}
	return nil
}

// reports knows the last report of each machine by its ID.
type reports struct {
	mu    sync.Mutex
	last  map[string]string
	order []string // machines, oldest report first
}

// add records a report and tells whether it is news (not a repeat).
func (k *reports) add(machine, id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last == nil {
		k.last = map[string]string{}
	}
	if old, ok := k.last[machine]; ok {
		if id != "" && old == id {
			return false
		}
		k.order = slices.DeleteFunc(k.order, func(s string) bool { return s == machine })
	}
	if len(k.order) >= maxMachines {
		delete(k.last, k.order[0])
		k.order = k.order[1:]
	}
	k.last[machine], k.order = id, append(k.order, machine)
	return true
}
