// Package limit keeps an address from asking too much: a token bucket for each, in bounded memory.
//
// # Promises
//
// Strangers (New): IPv6 addresses are counted by their /64, which one of them owns as a whole. The
// loopback is never limited: programs of this machine, and a proxy that limits by itself.
//
// Machines (PerMachine): every address counts for itself. A room shares its /64, and a machine that
// runs wild must not silence its neighbours.
//
// At most 16384 buckets are held. When all are in use, those that are full again are dropped, at
// most once a second; if none is, further addresses share one bucket, so an attacker with many
// addresses slows down newcomers and not those who were there before.
//
// # Known gaps
//
// A room behind one NAT is one address: the burst has to be as large as the room. Buckets are
// forgotten at a restart.
package limit
