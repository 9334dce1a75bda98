// Package server is what "troy serve" runs: the store of images over HTTP, and check-in and reports
// of the machines.
//
//	GET, HEAD /repo/NAME   a published file of the store, with ranges and strong ETags
//	POST /v1/checkin       protocol.CheckIn → protocol.Order
//	POST /v1/progress      protocol.Progress → protocol.Ack
//	POST /v1/report        protocol.Report → protocol.Ack
//	/v1/admin/…            Options.Admin (package server/rooms/api)
//	/v1/capture/…          Options.Capture (package server/inbox)
//	GET /healthz           200 and the server's time in the Date header
//
// # Promises
//
// The tree: only regular files under Dir, opened through os.Root, so neither a name nor a symbolic
// link leads out of it, and only names that a store publishes: store.json, images/, objects/,
// metadata/ and agent/. There are no listings. Store files are immutable (a new one gets a new name
// or is renamed into place), so the ETag is made of size and modification time and survives
// restarts. Files are sent by sendfile where the kernel can, without TLS.
//
// The calls: bodies are bounded (protocol.MaxBody), must be one JSON value, and must pass
// Validate. Every refusal is a protocol.Failure of one line. What the machine claims reaches the
// caller unchanged but bounded.
//
// Who calls more often than Options.CallsPerSecond (a party of package limit) is answered 429 with
// Retry-After. OnRefused is called for every call that was not accepted. Of handshakes that come to
// nothing, a few a minute of each party are logged.
//
// Time: reading a request takes at most readTime; an answer must move sliceBytes per sliceTime, so
// a machine that is gone frees its connection, and a slow one (above 1 kB/s) does not lose it.
// Connections are shared out by package limit (Serve), so one who opens many and says nothing leaves
// room for others.
//
// Shares: TCP alone divides a narrow line unevenly, and by connections. Set Options.Bandwidth a
// little below what the narrowest common line carries (body bytes; 0.9 of the line is a good
// start). Every answer is then sent in small turns that go round the machines by start-time fair
// queueing: even shares, whatever switches and queues lie in between and however many streams a
// machine has. A machine that takes less than its share leaves the rest to the others. Check-ins
// and reports are not delayed.
//
// # Known gaps
//
// Machines are told apart by their IP address: those behind one proxy or NAT share one share.
// Without Bandwidth, shares are as the kernel makes them (a queue such as fq_codel on the server's
// port is fair by connection).
//
// The server remembers in memory the ID of the last report of each of maxMachines machines: after a
// restart a repeat counts as news. Options.Keep makes reports durable (package server/rooms does).
// TLS, network boot and the status page are packages daemon, netboot and web: who speaks is handed on
// as the connection shows it, whether it shows anything or not. Orders are not signed.
package server
