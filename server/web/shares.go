package web

import (
	"crypto/sha256"
	"net/http"
	"net/netip"
	"time"

	"troy/server/limit"
)

// Bounds of what is held for a while: an open page, and a login whose password is being checked. Of
// each there are places for admins, and others for who is not known as one: none of them can keep an
// admin out, however many there are.
const (
	viewersMost, viewersEach     = 200, 40
	strangersMost, strangersEach = 100, 10 // where the page is public

	// A check of a password takes a tenth of a second, and there is one at a time.
	checksMost        = 16
	unknownChecksMost = 4 // one for each address
)

// shares are the places of a Handler.
type shares struct{ viewers, strangers, checks, unknownChecks limit.Places }

func newShares() shares {
	return shares{
		viewers:       limit.Places{Most: viewersMost, Each: viewersEach},
		strangers:     limit.Places{Most: strangersMost, Each: strangersEach},
		checks:        limit.Places{Most: checksMost},
		unknownChecks: limit.Places{Most: unknownChecksMost, Each: 1},
	}
}

// admin tells whether a request comes from an admin as far as can be known before a login: it has a
// session, or comes from this machine, or from where somebody is signed in.
func (h *Handler) admin(r *http.Request) bool {
	return local(r) || h.session(r) != nil || h.sessions.at(limit.PartyOf(r.RemoteAddr), h.now())
}

// watches takes a place for an open page.
func (h *Handler) watches(r *http.Request) (done func(), ok bool) {
	places := &h.shares.strangers
	if h.session(r) != nil {
		places = &h.shares.viewers
	}
	return hold(places, r)
}

// checks takes a place for the check of a password.
func (h *Handler) checks(r *http.Request) (done func(), ok bool) {
	places := &h.shares.unknownChecks
	if h.admin(r) {
		places = &h.shares.checks
	}
	return hold(places, r)
}

func hold(p *limit.Places, r *http.Request) (done func(), ok bool) {
	from := limit.PartyOf(r.RemoteAddr)
	return func() { p.Give(from) }, p.Take(from)
}

// from notes where the owner of a session signed in.
func (s *sessions) from(cookie string, party netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.all[sha256.Sum256([]byte(cookie))]; v != nil {
		v.party = party
	}
}

// at tells whether somebody is signed in from there.
func (s *sessions) at(party netip.Addr, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.all {
		if v.party == party && party.IsValid() && !v.ended(now) {
			return true
		}
	}
	return false
}
