package server

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"troy/image/capture"
	"troy/internal/errline"
	"troy/server/limit"
	"troy/server/protocol"
)

const (
	readTime     = 30 * time.Second // a request must have arrived
	idleTime     = 2 * time.Minute  // a kept connection without a request
	headerBytes  = 16 << 10
	shutdownTime = 10 * time.Second // running answers may end when the server stops

	connsMost = 4096 // connections of a listener
	connsEach = 1024 // of one party of package limit: a room behind one address has that many
)

// Orders decides what a machine should do.
type Orders interface {
	// Order answers a check-in of peer that passed Validate. An error is sent to the machine as
	// "503 try again", so it must not contain secrets.
	Order(ctx context.Context, peer protocol.Peer, c protocol.CheckIn) (protocol.Order, error)
}

// Options holds what a server needs (Dir, Orders) and what may be chosen.
type Options struct {
	Dir    string // the store
	Orders Orders
	// Bandwidth limits the body bytes per second of all answers from the store together. Machines
	// (told apart by address) share it evenly. 0 = no limit, and shares as TCP makes them.
	Bandwidth int64
	// OnCheckIn, if set, is called with each check-in and its answer, but for the texts of secrets.
	OnCheckIn func(peer protocol.Peer, c protocol.CheckIn, o protocol.Order, err error)
	// OnProgress, if set, is called with the progress that a machine reports.
	OnProgress func(peer protocol.Peer, p protocol.Progress)
	// OnReport, if set, is called once with each report.
	OnReport func(peer protocol.Peer, r protocol.Report)
	// CallsPerSecond is how many check-ins, progress and reports each address may send; ten
	// seconds' worth at once. 0 = no limit.
	CallsPerSecond float64
	// OnRefused, if set, is called for each call that was not accepted: not a message of this
	// protocol, too large, or too often.
	OnRefused func(address, path string, err error)
	// Keep, if set, makes a report durable before it is acknowledged. It also gets repeats. If it
	// fails, so does the report: the machine sends it again.
	Keep func(ctx context.Context, peer protocol.Peer, r protocol.Report) error
	// Admin, if set, answers everything under /v1/admin/. It checks who may ask.
	Admin http.Handler
	// Capture, if set, answers everything under /v1/capture/ (package inbox). It checks who may ask.
	Capture http.Handler
	// OnServed, if set, is called with the bytes of each answer from the store after it was sent.
	// All functions may be called from several goroutines at once.
	OnServed func(name string, bytes int64)
}

// Server is an http.Handler for one store.
type Server struct {
	o       Options
	pacer   *pacer         // nil = no limit
	limiter *limit.Limiter // nil = no limit
	root    *os.Root
	mux     *http.ServeMux
	reports reports
	served  atomic.Int64
	gets    atomic.Int64
}

// New opens the store's folder. Close it when done.
func New(o *Options) (*Server, error) {
	if o.Orders == nil {
		return nil, errors.New("server: no Orders")
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("server: opening the store: %w", err)
	}
	s := &Server{o: *o, root: root, mux: http.NewServeMux(), pacer: newPacer(o.Bandwidth), limiter: newLimiter(o.CallsPerSecond)}
	s.mux.HandleFunc("GET /"+protocol.PathRepo+"/{name...}", s.serveFile)
	s.mux.HandleFunc("POST /"+protocol.PathCheckIn, s.limited(s.serveCheckIn))
	s.mux.HandleFunc("POST /"+protocol.PathProgress, s.limited(s.serveProgress))
	s.mux.HandleFunc("POST /"+protocol.PathReport, s.limited(s.serveReport))
	s.mux.HandleFunc("GET /"+protocol.PathHealth, serveHealth)
	if o.Admin != nil {
		s.mux.Handle("/v1/admin/", o.Admin)
	}
	if o.Capture != nil {
		s.mux.Handle(capture.Prefix, o.Capture)
	}
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Close closes the store's folder.
func (s *Server) Close() error { return s.root.Close() }

// Served returns the body bytes sent from the store so far, and the number of requests for them.
func (s *Server) Served() (bytes, requests int64) { return s.served.Load(), s.gets.Load() }

// Serve answers requests on l with h, such as one that holds a Server and the status page, until
// ctx ends; then running answers get ten seconds. It closes l and returns nil after an orderly end.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	hs := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readTime,
		ReadTimeout:       readTime,
		WriteTimeout:      sliceTime, // of a short answer; slicedWriter extends it
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerBytes,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog:          log.New(&faults{log.Default(), limit.New(faultsPerMinute/60.0, faultsPerMinute)}, "", 0),
		ConnState:         sharing(&limit.Places{Most: connsMost, Each: connsEach}),
	}
	end := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { end <- shutdown(hs) })
	err := hs.Serve(l)
	if stop() { // ctx is alive: Serve failed by itself
		return fmt.Errorf("server: %w", err)
	}
	return <-end
}

// sharing closes a connection at once for which its party has no place: they are all that one who
// says nothing could hold.
func sharing(places *limit.Places) func(net.Conn, http.ConnState) {
	var placed sync.Map
	return func(c net.Conn, s http.ConnState) {
		from := limit.PartyOf(c.RemoteAddr().String())
		switch s {
		case http.StateNew:
			if places.Take(from) {
				placed.Store(c, true)
			} else {
				c.Close()
			}
		case http.StateClosed, http.StateHijacked:
			if _, has := placed.LoadAndDelete(c); has {
				places.Give(from)
			}
		}
	}
}

// shutdown lets running answers end, then cuts them.
func shutdown(hs *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if err := hs.Shutdown(ctx); err != nil {
		return errline.Join(fmt.Errorf("server: answers were cut at the end: %w", err), hs.Close())
	}
	return nil
}

func serveHealth(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	fmt.Fprintf(w, "{\"protocol\":%d}\n", protocol.Version)
}
