package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"html/template"
	"net/http"
	"slices"
	"sync"
	"time"

	"troy/internal/version"
	"troy/server/rooms"
	"troy/server/state"
)

// pages renders everything that people see.
type pages struct {
	h *Handler
	t *template.Template

	mu   sync.Mutex
	last *snapshot
	made time.Time
}

// piece is a part of the page that can change by itself.
type piece struct {
	id   string
	HTML template.HTML // by our own templates
	hash uint64
}

// snapshot is the page of the rooms at one moment.
type snapshot struct {
	rooms   []roomView
	unknown []tileView
	summary piece
	pieces  []piece
	layout  string // a hash of what the pieces do not carry: which there are, and the forms
	rev     uint64 // of Lab.Changed; what is shown is not older
	err     error
}

// roomView is a room on the page.
type roomView struct {
	rooms.Room
	ID    string
	Head  piece
	Tiles []tileView
	Back  *state.Target // that a rollback would bring
}

// tileView is a machine on the page.
type tileView struct {
	rooms.Host
	ID   string
	Tile piece
}

func newPages(h *Handler) (*pages, error) {
	p := &pages{h: h}
	var err error
	p.t, err = template.New("").Funcs(p.funcs()).ParseFS(assets, "assets/*.html")
	return p, err
}

// ident makes an id for HTML of any text.
func ident(prefix, text string) string {
	sum := sha256.Sum256([]byte(text))
	return prefix + hex.EncodeToString(sum[:8])
}

// render makes a piece.
func (s *snapshot) render(t *template.Template, name, id string, data any) piece {
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, name, data); err != nil && s.err == nil {
		s.err = err
	}
	sum := fnv.New64a()
	sum.Write(b.Bytes())
	p := piece{id, template.HTML(b.String()), sum.Sum64()}
	s.pieces = append(s.pieces, p)
	return p
}

// snapshot renders the rooms, or gives what was rendered less than tickLeast ago. fresh asks for
// the present.
func (p *pages) snapshot(fresh bool) *snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.last == nil || fresh || now.Sub(p.made) >= tickLeast/2 {
		p.last, p.made = p.build(), now
	}
	return p.last
}

func (p *pages) build() *snapshot {
	s := &snapshot{}
	s.rev, _ = p.h.o.Lab.Changed(context.Background(), 0) // at once
	st, hosts := p.h.o.Lab.Overview()
	s.summary = s.render(p.t, "summary", "summary", p.summary(st))
	layout := sha256.New()
	for i := range st.Rooms {
		v := roomView{Room: st.Rooms[i], ID: ident("r", st.Rooms[i].Name)}
		v.Head = s.render(p.t, "head", v.ID, &v)
		for _, host := range hosts[i] {
			v.Tiles = append(v.Tiles, s.tile(p.t, "tile", host))
		}
		v.Back, _ = p.h.o.Lab.Previous(v.Name) // none: then there is no button
		fmt.Fprintln(layout, v.Name, v.Back, v.Image != "", v.Stopped != "")
		s.rooms = append(s.rooms, v)
	}
	for _, host := range st.Unknown {
		s.unknown = append(s.unknown, s.tile(p.t, "stranger", host))
	}
	fmt.Fprintln(layout, p.h.o.Lab.Images())
	for _, x := range s.pieces {
		layout.Write([]byte(x.id + "\n"))
	}
	s.layout = hex.EncodeToString(layout.Sum(nil)[:8])
	return s
}

func (s *snapshot) tile(t *template.Template, name string, host rooms.Host) tileView {
	v := tileView{Host: host, ID: ident("m", cmp.Or(host.ID, host.Room+"/"+host.Name))}
	v.Tile = s.render(t, name, v.ID, &v)
	return v
}

// summaryView is the strip at the top.
type summaryView struct {
	Machines, Current, Working, Failed, Alarms, Unnamed, Unknown int
	Rate                                                         int64
	LabError                                                     string
	Nights                                                       []state.Night // that ended in the last hours
	Total                                                        state.Night   // their sum
}

const morning = 18 * time.Hour // how long a night is news

func (p *pages) summary(st *rooms.Status) *summaryView {
	v := &summaryView{LabError: st.LabError, Unknown: len(st.Unknown)}
	for i := range st.Rooms {
		r := &st.Rooms[i]
		v.Machines += r.Machines
		v.Current += r.Counts[rooms.PhaseCurrent]
		v.Working += r.Counts[rooms.PhaseWorking]
		v.Failed += r.Counts[rooms.PhaseFailed] + r.Counts[rooms.PhaseDown] + r.Counts[rooms.PhaseSilent]
		v.Alarms += r.Alarms
		v.Unnamed += r.Unnamed
		v.Rate += r.Rate
	}
	now := p.h.now()
	nights, err := p.h.o.Lab.Nights(now.Add(-48 * time.Hour))
	if err != nil {
		return v // the rooms matter more
	}
	for _, n := range nights {
		if n.Closed && n.End.After(now.Add(-morning)) {
			v.Nights = append(v.Nights, n)
			v.Total.Done += n.Done
			v.Total.Failed += n.Failed
			v.Total.Missing += n.Missing
			v.Total.Bytes += n.Bytes
		}
	}
	return v
}

// frame is what every page has.
type frame struct {
	Title   string
	Name    string // of the template of the body
	User    string
	CSRF    string
	Flash   string
	CanSign bool
	Live    bool
	Body    any
	Version string // of the server, "" for strangers where the page is private
}

// show renders a whole page.
func (p *pages) show(w http.ResponseWriter, r *http.Request, status int, name, title string, body any) {
	f := &frame{Title: title, Name: name, Body: body, CanSign: p.h.o.Users != nil}
	if s := p.h.session(r); s != nil {
		f.User, f.CSRF = s.user, s.csrf
		f.Flash = p.h.sessions.takeFlash(cookieOf(r))
	}
	if f.User != "" || p.h.o.Public {
		f.Version = version.Get().String()
	}
	if s, ok := body.(*roomsPage); ok {
		f.Live, s.CSRF, s.User = true, f.CSRF, f.User
	}
	p.write(w, status, "frame", f)
}

// write answers with a template.
func (p *pages) write(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := p.t.ExecuteTemplate(&b, name, data); err != nil {
		http.Error(w, "the page cannot be shown: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// fail shows an error.
func (p *pages) fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	p.show(w, r, status, "error", "Not done", text)
}

// roomsPage is the body of the main page.
type roomsPage struct {
	Layout     string
	Rooms      []roomView
	Unknown    []tileView
	Summary    piece
	Images     []string
	User, CSRF string
}

func (h *Handler) serveRooms(w http.ResponseWriter, r *http.Request) {
	if page := h.rooms(w); page != nil {
		h.pages.show(w, r, http.StatusOK, "rooms", "Rooms", page)
	}
}

// rooms is the body of the main page as it is now; nil if it was answered that there is none.
func (h *Handler) rooms(w http.ResponseWriter) *roomsPage {
	s := h.pages.snapshot(true)
	if s.err != nil {
		http.Error(w, "the page cannot be shown: "+s.err.Error(), http.StatusInternalServerError)
		return nil
	}
	return &roomsPage{Layout: s.layout, Rooms: s.rooms, Unknown: s.unknown, Summary: s.summary, Images: h.o.Lab.Images()}
}

// serveLive gives the body of the main page to one that is open.
func (h *Handler) serveLive(w http.ResponseWriter, r *http.Request) {
	page := h.rooms(w)
	if page == nil {
		return
	}
	if s := h.session(r); s != nil {
		page.CSRF, page.User = s.csrf, s.user
	}
	h.pages.write(w, http.StatusOK, "rooms", page)
}

// hostPage is the body of the page of one machine.
type hostPage struct {
	*rooms.Host
	M            *state.Machine
	Last, Failed string // log tails
	History      []state.Event
	User, CSRF   string
}

func (h *Handler) serveHost(w http.ResponseWriter, r *http.Request) {
	host, m, err := h.o.Lab.Host(r.URL.Query().Get("id"))
	if err != nil {
		h.pages.fail(w, r, statusOf(err), err.Error())
		return
	}
	v := &hostPage{Host: host, M: m}
	if s := h.session(r); s != nil {
		v.User, v.CSRF = s.user, s.csrf
	}
	if m != nil {
		v.History = slices.Clone(m.History)
		slices.Reverse(v.History)
		if v.Last, v.Failed, err = h.o.Lab.Log(m.ID); err != nil {
			h.pages.fail(w, r, http.StatusInternalServerError, err.Error())
			return
		}
	}
	if v.Failed == v.Last {
		v.Failed = ""
	}
	h.pages.show(w, r, http.StatusOK, "host", cmp.Or(host.Name, host.Code, host.ID), v)
}

const historyTime = 90 * 24 * time.Hour

func (h *Handler) serveNights(w http.ResponseWriter, r *http.Request) {
	nights, err := h.o.Lab.Nights(h.now().Add(-historyTime))
	if err != nil {
		h.pages.fail(w, r, http.StatusInternalServerError, err.Error())
		return
	}
	h.pages.show(w, r, http.StatusOK, "nights", "Nights", nights)
}
