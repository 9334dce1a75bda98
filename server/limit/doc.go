// Package limit keeps one party from taking what all need: how often it asks (Limiter, a token
// bucket for each party in bounded memory), and how much it holds at a time (Places).
//
// # Promises
//
// A party is an IPv4 address or an IPv6 /64, which one owner has as a whole. The loopback is never
// limited by itself: programs of this machine, and a proxy that limits by itself.
//
// A Limiter holds at most 16384 buckets. When all are in use, those that are full again are dropped,
// at most once a second; if none is, further parties share one bucket, so an attacker with many
// addresses slows down newcomers and not those who were there before.
//
// # Known gaps
//
// A room behind one NAT, or in one /64, is one party: bursts have to be as large as the room.
// Whoever has very many addresses is many parties. Buckets are forgotten at a restart.
package limit
