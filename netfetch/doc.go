// Package netfetch fetches ranges of named objects over HTTP from one server or several, so that
// every byte is fetched once and no failure is silent. It does not know what the bytes mean: no
// hashes, no VHDX, no images.
//
// Package params reads what the kernel command line says about the network. Package link brings a
// network port up; only the agent needs it, and other programs do not link its libraries.
//
// # Sources
//
// A Source gives ranges of named objects. HTTP is one. Mirrors (several sources in order of
// preference, with failover) and Limiter.Wrap (bandwidth) decorate any other; a swarm can be
// another. A caller that finds a wrong hash, or a document that it does not take,
// reports it through Rejecter and reads again: Mirrors then asks another source. A read that fails
// returns what came before it did, so that the next one asks for the rest.
//
// # HTTP
//
// HTTP.ReadRange accepts an answer only if it is what was asked for: status 206, the exact
// Content-Range, no encoding, not a byte more. What happens otherwise:
//
//   - cut or stalled: the bytes that came are kept and the next try asks for the rest with
//     If-Range; if ETag or size differ, the kept bytes are dropped;
//   - 200 instead of 206: the body is read up to the range if that wastes at most 8 MiB. Else, if
//     the request had If-Range, the range is asked for again without it (several servers behind
//     one name may each have an ETag of their own); if it had not, the answer is refused
//     (ErrNoRanges);
//   - 5xx, 408, 425, 429, no connection: tried again after a pause drawn evenly from zero to a
//     limit that doubles (full jitter); Retry-After is waited for in addition;
//   - another range, an encoding, a redirect loop: three tries at most;
//   - 4xx, an object that is too short, a server that is not taken (HTTPOptions.TLS): final.
//
// A call ends when its context does, or after GiveUpAfter without progress (64 KiB to all streams
// together count as progress; a byte per connection does not). A watchdog covers every step from the
// dial to the last byte: each window of 20 seconds must bring 1 KiB per second to all streams of the
// server together, and each stream a byte within three windows. So a slow line that many machines
// with many streams share still carries something for each.
//
// HTTP/1.1 only, one TCP connection per stream, kept for the next range; no gzip; no redirect from
// TLS to plain HTTP. Names are escaped part by part and cannot leave the base URL.
//
// Get and PostJSON are for small documents, bounded by their caller and by 1 MiB.
//
// # Mirrors
//
// NewHTTPMirrors makes Mirrors of base URLs; NewMirrors joins lists to one. How they treat a source
// that
//
//   - failed: it is asked last for 5 seconds, doubling to 2 minutes. Then one read at a time tries
//     it, while the others use the next source. A dead server therefore costs each stream its
//     patience once (4 s if it refuses, 8 s if it is silent), and later one stream now and then;
//   - lacks an object (404, or shorter than the range): it is asked last for that object for a
//     minute. A document that a working mirror lacks is not asked of dead ones;
//   - sent Retry-After and stays busy for longer than its patience: it is not asked before that
//     time;
//   - gave wrong bytes: as failed, but a proper answer does not clear it, and for that range it
//     stays last, as for a document that was refused;
//   - brings less than 256 KiB per second to all streams for 8 seconds: left for another that works,
//     if of that no rate is known or twice this one. It is asked after the others for a minute,
//     doubling to half an hour. The bytes that it brought are kept;
//   - answered a PostJSON: it is asked first for the next one. The others are asked if it does not
//     answer, or takes no calls.
//
// With many clients on one line, full jitter spreads the retries, so a restarted server is not
// overrun. How the line is shared is decided by the server (server.Options.Bandwidth).
//
// # Time
//
// Clock is the machine's time if that is believable, else the program's build time, corrected by
// bounded hints (ServerTime). A server that is known by its key (package tlskey) is taken whatever
// the clock says.
//
// # Networks
//
// Probe asks a server once, by the name servers of one network, whether it is there.
//
// # Errors
//
// *FetchError names server, object, range, tries and the last failure in one line; *MirrorsError
// what each mirror answered. The classes (ErrBusy, ErrStalled, ErrNotFound, …) are for errors.Is.
// The caller decides what happens next.
//
// # Known gaps
//
// The limiter counts ranges, not packets, and not what retries fetch again. A lying server can hold
// up a reader for GiveUpAfter per range. Mirrors are asked in order: they do not share a load.
package netfetch
