// Package fetchtest is an HTTP server that misbehaves on request, for tests of
// whatever fetches.
//
// A Server wraps a well-behaved handler (Files, or the real server) and counts
// what it is asked and what it sends. A Fault is one way to misbehave; it is
// ordinary middleware. Faults are queued for the next requests (Next) or stand until further
// notice (Always), for all requests or for those that Only selects:
//
//	s := fetchtest.New(fetchtest.Files{"pack": data})
//	s.Next(fetchtest.Cut(1000), fetchtest.Busy(503, "1"))
//	web := httptest.NewServer(s)
//
// Each Fault says what it does to an answer; everything else of the answer stays
// right, so that a test meets one failure at a time. The faults need nothing but
// net/http, so they also work in front of a machine in QEMU.
package fetchtest
