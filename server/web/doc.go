// Package web is the page that the admin looks at: rooms as grids of machines, live, with the acts
// that a login permits.
//
//	GET  /                    rooms, unknown machines, the morning's summary
//	GET  /host?id=ID          one machine: what it is, what it did, its log
//	GET  /nights              history
//	GET  /events              what changed on the page (text/event-stream)
//	GET  /live                the rooms anew, for an open page
//	GET  /login  POST /login  sign in; POST /logout
//	POST /do/ACT              promote, rollback, stop, wake, assign, forget: a session and its CSRF token are needed
//	GET  /metrics             for Prometheus
//	GET  /openapi.json        describes the calls of package rooms/api (/v1/admin/)
//
// # Promises
//
// Everything that a machine claims is escaped by html/template for its place, and the
// Content-Security-Policy forbids scripts, styles and pictures from anywhere but the two files that
// this package serves. No other program is needed to build it.
//
// Live: the page is cut into pieces with an id each (the head of a room, the tile of a machine).
// They are rendered at most once a second for all viewers together; each viewer is sent those that
// differ from what it has, about a second after a change. Where machines, rooms or buttons come or
// go, it is told to ask for the rooms anew. An answer that is no stream (of a proxy while the
// server restarts) does not end that. A viewer that is slow only loses time and holds up no one:
// each event has a deadline. At most 200 who are signed in watch at once, 40 of one address, and
// where the page is public 100 others, 10 of one address. Without JavaScript the page is whole, and
// not live.
//
// Logins: argon2id (RFC 9106) with parameters in the hash, one computation at a time (it takes
// memory), six tries a minute of an address; an unknown name costs as much as a wrong password. At
// most four tries wait for it, one of an address, beside those from this machine, of who is signed
// in, and from where somebody is: so nobody who guesses keeps an admin out. Sessions are 256 random
// bits in a cookie (HttpOnly, SameSite=Strict, Secure with TLS), kept as SHA-256, ended after two
// hours in which no person asked for anything (an open page does by itself) or twelve in all, at
// most 500. They end within a second, open pages too, when their user is removed or gets another
// password. Without TLS a login works from this machine only. Acts need the token of the session in
// the form (CSRF), and a request that the browser does not call cross-site
// (http.CrossOriginProtection). A promotion is shown with its estimate first, and done when that is
// confirmed. Every login and act is told to Options.OnAct.
//
// Without a login nothing of the lab is shown, and /metrics is for this machine only, unless
// Options.Public.
//
// # Known gaps
//
// Sessions are forgotten at a restart. There are no roles: everyone who can sign in may do
// everything. A rollback, for which machines need a permit of the admin's
// key (package image/trust), is ordered here, but signed only by "troy permit downgrade".
package web
