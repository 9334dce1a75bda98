package web

import (
	"context"
	"embed"
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"troy/server/audit"
	"troy/server/lab"
	"troy/server/limit"
	"troy/server/rooms"
	"troy/server/state"
)

// Bounds.
const (
	tickLeast       = time.Second      // between two renderings
	tickMost        = 15 * time.Second // between two events, so that a dead connection is noticed
	loginsPerMinute = 6
	formMost        = 16 << 10 // bytes
	sendTime        = 20 * time.Second
)

// Viewer shows the present. *rooms.Keeper is one, as of all interfaces here.
type Viewer interface {
	Status() *rooms.Status
	Overview() (*rooms.Status, [][]rooms.Host)
	Changed(ctx context.Context, seen uint64) (revision uint64, err error)
}

// Historian shows the past.
type Historian interface {
	Host(id string) (*rooms.Host, *state.Machine, error)
	Log(key string) (last, failed string, err error)
	Nights(after time.Time) ([]state.Night, error)
}

// Planner changes what rooms get.
type Planner interface {
	Estimate(ctx context.Context, p rooms.Promotion) (*rooms.Estimate, error)
	Promote(ctx context.Context, p rooms.Promotion) (*state.Target, error)
	Rollback(ctx context.Context, p rooms.Promotion) (*state.Target, error)
}

// Operator does the rest that an admin may.
type Operator interface {
	Stop(room, why string) error
	Assign(code, name, room string) (*state.Machine, error)
	WakeNow(room, id string) (int, error)
}

// Forgetter drops what is known of machines.
type Forgetter interface {
	Forget(id string) error
	ForgetStrangers() (int, error)
}

// Lab is what the page is about.
type Lab interface {
	Viewer
	Historian
	Planner
	Operator
	Forgetter
	Lab() *lab.Lab
	Images() []string
	Previous(room string) (*state.Target, error)
}

// Options of a Handler. Lab is needed.
type Options struct {
	Lab   Lab
	Users *Users // nil = no one can sign in
	// OnAct, if set, is told each login and act before it is answered. An error keeps an act from
	// being done.
	OnAct func(e audit.Entry) error
	// Public shows the page, but no act, also to those who did not sign in, and /metrics to other
	// machines.
	Public bool
	// Counters are further numbers for /metrics: names without the prefix troy_, such as
	// served_bytes_total.
	Counters map[string]func() float64
}

// Handler is the page.
type Handler struct {
	o        Options
	mux      *http.ServeMux
	sessions sessions
	logins   *limit.Limiter
	pages    *pages
	shares   shares
	metrics  http.Handler
	openapi  []byte
	now      func() time.Time
	closing  chan struct{} // closed when the streams of events are to end
	close    func()        // closes it, once
}

// What an open page asks for without a person.
const (
	pathEvents = "/events" // what changes
	pathLive   = "/live"   // the rooms anew, after a change that the events do not carry
)

//go:embed assets
var assets embed.FS

// New makes the page. Close it before its server is shut down.
func New(o *Options) (*Handler, error) {
	if o.Lab == nil {
		return nil, errors.New("web: no Lab")
	}
	h := &Handler{o: *o, now: time.Now, closing: make(chan struct{}), mux: http.NewServeMux(),
		logins: limit.New(loginsPerMinute/60.0, loginsPerMinute), shares: newShares()}
	h.close = sync.OnceFunc(func() { close(h.closing) })
	if h.o.OnAct == nil {
		h.o.OnAct = func(audit.Entry) error { return nil }
	}
	var err error
	if h.pages, err = newPages(h); err != nil {
		return nil, err
	}
	if h.openapi, err = openAPI(); err != nil {
		return nil, err
	}
	if h.metrics, err = newMetrics(h); err != nil {
		return nil, err
	}
	h.routes()
	return h, nil
}

func (h *Handler) routes() {
	guard := http.NewCrossOriginProtection()
	handle := func(pattern string, f http.HandlerFunc) { h.mux.Handle(pattern, guard.Handler(f)) }
	for _, name := range []string{"style.css", "app.js"} {
		handle("GET /static/"+name, func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, assets, "assets/"+name) })
	}
	handle("GET /{$}", h.seen(h.serveRooms))
	handle("GET /host", h.seen(h.serveHost))
	handle("GET /nights", h.seen(h.serveNights))
	handle("GET "+pathEvents, h.seen(h.serveEvents))
	handle("GET "+pathLive, h.seen(h.serveLive))
	handle("GET /openapi.json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(h.openapi)
	})
	handle("GET /metrics", h.serveMetrics)
	handle("GET /login", h.showLogin)
	handle("POST /login", h.login)
	handle("POST /logout", h.logout)
	handle("POST /do/{act}", h.act)
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
	// No Strict-Transport-Security: it would reach every other port and service of the host's name.
	h.mux.ServeHTTP(w, r)
}

// seen lets only those through who may view the page.
func (h *Handler) seen(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch signedIn := h.o.Public || h.session(r) != nil; {
		case signedIn:
			next(w, r)
		case r.URL.Path == pathEvents || r.URL.Path == pathLive:
			http.Error(w, "sign in first", http.StatusUnauthorized)
		default:
			http.Redirect(w, r, "/login", http.StatusSeeOther)
		}
	}
}

// local says whether a request comes from this machine.
func local(r *http.Request) bool {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

func (h *Handler) serveMetrics(w http.ResponseWriter, r *http.Request) {
	if !h.o.Public && !local(r) {
		http.Error(w, "for this machine only", http.StatusForbidden)
		return
	}
	h.metrics.ServeHTTP(w, r)
}
