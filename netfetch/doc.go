// Package netfetch brings a wired port up and fetches ranges of named objects,
// so that every byte is fetched once and no failure is silent. It knows nothing of what
// the bytes mean: no hashes, no VHDX.
//
// # Link
//
// LinkUp raises all wired ports at once, waits for carriers (switch ports in
// spanning tree pass nothing for 30 seconds), asks for an address by DHCP on each, and
// returns the first that is useful; ports that appear meanwhile are tried too.
// A port asks for the lease only when its turn comes, so the losers hold none.
// "Useful" is an address a host can have and, if LinkOptions.Useful is set, a yes of the
// caller's (does the server answer?); a port that was no use gives its lease back and
// is tried again later. No gateway and no name server are needed. Option 121 (classless
// routes) is followed; site option 224, a text, may name the Troy server.
//
// Link.Keep looks after the lease during long work: renewal by unicast at T1, by
// broadcast at T2 or after the cable was out, a new address when the server
// refuses or the lease has run out (states of RFC 2131, section 4.4.5). It tells the new
// address, and HTTP.Reconnect then gives up the connections that died with the old one.
//
// ParseParams reads troy.ip, troy.port and troy.server from the kernel command
// line and the media's config file.
//
// # HTTP
//
// HTTP.ReadRange takes an answer only if it is what was asked for: status 206,
// the exact Content-Range, no encoding, not a byte more. Then, in this order:
//
//   - cut or stalled: what came is kept, the next try asks for the rest with
//     If-Range; if ETag or size differ, what came is dropped;
//   - 200 instead of 206: the body is read up to the range, if that wastes at
//     most MaxDiscard bytes, else refused (ErrNoRanges);
//   - 5xx, 408, 425, 429, no connection: tried again; Retry-After is waited for in addition
//     to a pause drawn evenly from zero to a limit that doubles (full jitter);
//   - another range, an encoding, a redirect loop: three times at most;
//   - 4xx, an object that is too short, a bad certificate: final.
//
// A call ends when its context does, or after GiveUpAfter without progress (64 KiB
// count as progress; a byte per connection does not). A watchdog covers every
// step from the dial to the last byte: each Stall long window must bring MinRate.
// HTTP/1.1 only, one TCP connection per stream, kept for the next range; no gzip; no redirect
// from TLS to plain HTTP; names are escaped part by part and cannot leave the base URL.
//
// Get and PostJSON are for small documents, bounded by their caller and by 1 MiB.
//
// # Sources
//
// Source is the seam: HTTP is one, Mirrors (ordered, failover) and Limiter.Wrap
// (bandwidth) are decorators, a swarm can be another. Whoever checks the hash of what came
// and finds it wrong tells it by Rejecter and reads again: Mirrors turns to the next.
//
// NewHTTPMirrors makes Mirrors of base URLs. What Mirrors remember of each source:
//
//   - failed: asked last for 5 seconds, doubling to 2 minutes; then one read at a time tries it, the others go on with the next. So
//     a dead server costs each stream its patience once (4 s refused, 8 s silent), and one stream now and then;
//   - lacks an object (404, or shorter than the range): asked last for that object for a minute. A document that a working
//     mirror lacks does not wait for the dead ones;
//   - said Retry-After and did not answer in its patience: not asked at all before;
//   - gave wrong bytes: as failed, but an answer in good order does not clear it; last for that range for ever;
//   - answered a PostJSON: asked first for the next one. Others are asked if it does not answer, or takes no calls.
//
// Many clients on one line: retries are spread by full jitter, so a restarted server is not overrun. How the line is shared is
// the server's business (server.Options.Bandwidth).
//
// # Time
//
// Clock is the machine's time if that is believable, else the program's build
// time, corrected by bounded hints (ServerTime). TLS works on PCs that say 1970 or 2050.
//
// # Errors
//
// *FetchError names server, object, range, tries and the last failure in one line; *LinkError
// says what was seen on each port; *MirrorsError what each mirror said. The classes
// (ErrBusy, ErrStalled, ErrNotFound, …) are for errors.Is. What happens next is for
// the caller to say.
//
// # Known gaps
//
// IPv4 only; no VLAN, no 802.1X, no Wi-Fi. No duplicate address detection before
// an address is used. A lease is not taken over from the firmware. Keep renews with the server
// that gave the lease; another one of a failover pair is asked only after it has run out.
// Keep does not ask Useful again. The limiter counts ranges, not packets, and not what retries
// fetch again. A lying server can hold up a reader for GiveUpAfter per range. Mirrors ask in order: they do not share a load.
package netfetch
