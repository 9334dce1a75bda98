package web

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"troy/server/audit"
	"troy/server/limit"
)

// Sessions end after these times, and are at most so many.
const (
	idleMost     = 2 * time.Hour
	sessionMost  = 12 * time.Hour
	sessionsMost = 500
)

const cookieName = "troy_session"

// session is one login.
type session struct {
	user, proof string // see Users.Proof
	csrf        string
	begun, used time.Time
	party       netip.Addr // of package limit, from where its owner signed in
	flash       string     // shown on the next page
}

// sessions are held by the SHA-256 of their cookie: reading the memory of the server gives no
// cookie.
type sessions struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]*session
}

func draw() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// begin makes a session and returns its cookie. If there are too many, the one that was not used
// for longest ends.
func (s *sessions) begin(user, proof string, now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[[sha256.Size]byte]*session{}
	}
	for len(s.all) >= sessionsMost {
		var oldest [sha256.Size]byte
		for k, v := range s.all {
			if o := s.all[oldest]; o == nil || v.used.Before(o.used) {
				oldest = k
			}
		}
		delete(s.all, oldest)
	}
	cookie := draw()
	s.all[sha256.Sum256([]byte(cookie))] = &session{user: user, proof: proof, csrf: draw(), begun: now, used: now}
	return cookie
}

// get finds a session that has not ended, and returns a copy. It is used by what a person does.
func (s *sessions) get(cookie string, now time.Time, used bool) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := sha256.Sum256([]byte(cookie))
	v := s.all[key]
	if v == nil {
		return nil
	}
	if v.ended(now) {
		delete(s.all, key)
		return nil
	}
	if used {
		v.used = now
	}
	c := *v
	return &c
}

func (s *session) ended(now time.Time) bool {
	return now.Sub(s.used) > idleMost || now.Sub(s.begun) > sessionMost
}

func (s *sessions) end(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sha256.Sum256([]byte(cookie)))
}

// say sets what the next page shows, and takeFlash gets it once.
func (s *sessions) say(cookie, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.all[sha256.Sum256([]byte(cookie))]; v != nil {
		v.flash = text
	}
}

func (s *sessions) takeFlash(cookie string) (text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.all[sha256.Sum256([]byte(cookie))]; v != nil {
		text, v.flash = v.flash, ""
	}
	return text
}

func cookieOf(r *http.Request) string {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return ""
	}
	return c.Value
}

// session is that of a request; nil = no one is signed in. It ends as soon as its user is removed
// or has another password. What an open page asks for by itself does not keep it alive.
func (h *Handler) session(r *http.Request) *session {
	c := cookieOf(r)
	if c == "" || h.o.Users == nil {
		return nil
	}
	byItself := r.URL.Path == pathEvents || r.URL.Path == pathLive
	s := h.sessions.get(c, h.now(), !byItself)
	if s == nil {
		return nil
	}
	proof, err := h.o.Users.Proof(s.user)
	if err != nil {
		return nil // it cannot be known now
	}
	if proof != s.proof {
		h.sessions.end(c)
		return nil
	}
	return s
}

func (h *Handler) setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
}

func (h *Handler) showLogin(w http.ResponseWriter, r *http.Request) {
	h.pages.show(w, r, http.StatusOK, "login", "Sign in", h.loginRefusal(r))
}

// loginRefusal says why no one can sign in here; "" = they can.
func (h *Handler) loginRefusal(r *http.Request) string {
	switch {
	case h.o.Users == nil || h.o.Users.Empty():
		return "No login exists yet: create one with “troy login NAME DIR” on the server."
	case r.TLS == nil && !local(r):
		return "Sign in over HTTPS, or on the server itself: without TLS the password could be read on the way."
	}
	return ""
}

func (h *Handler) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, formMost)
	refuse := func(status int, why string) {
		h.pages.show(w, r, status, "login", "Sign in", why)
	}
	if why := h.loginRefusal(r); why != "" {
		refuse(http.StatusForbidden, why)
		return
	}
	from := limit.PartyOf(r.RemoteAddr)
	if h.session(r) == nil && h.logins.Take(from, h.now()) > 0 {
		refuse(http.StatusTooManyRequests, "Too many tries from your address. Wait a minute.")
		return
	}
	done, ok := h.checks(r)
	if !ok {
		refuse(http.StatusServiceUnavailable, "Too many sign in at the moment. Try again.")
		return
	}
	defer done()
	name := r.PostFormValue("name")
	e := audit.Entry{From: r.RemoteAddr, Action: "login", Detail: name, Result: "ok"}
	proof, ok := h.o.Users.Check(name, r.PostFormValue("password"))
	if ok {
		e.Who = name
	} else {
		e.Result = "wrong name or password"
	}
	if err := h.o.OnAct(e); err != nil {
		refuse(http.StatusInternalServerError, "The audit log cannot be written: "+err.Error())
		return
	}
	if !ok {
		refuse(http.StatusForbidden, "Wrong name or password.")
		return
	}
	h.sessions.end(cookieOf(r))
	cookie := h.sessions.begin(name, proof, h.now())
	h.sessions.from(cookie, from)
	h.setCookie(w, r, cookie, int(sessionMost.Seconds()))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// permitted says whether a form was sent by the page of its session.
func permitted(r *http.Request, s *session) bool {
	return s != nil && subtle.ConstantTimeCompare([]byte(r.PostFormValue("csrf")), []byte(s.csrf)) == 1
}

func (h *Handler) logout(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, formMost)
	if permitted(r, h.session(r)) {
		h.sessions.end(cookieOf(r))
		h.setCookie(w, r, "", -1)
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
