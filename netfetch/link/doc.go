// Package link brings a wired port up and keeps its address. Only the agent needs it: it uses
// netlink and raw sockets, so it runs on Linux, as root.
//
//	l, err := link.Up(ctx, &link.Options{Static: net.Static, Interfaces: net.Interfaces})
//	…
//	go l.Keep(ctx, &link.KeepOptions{Changed: func(*link.Link) { mirrors.Reconnect() }})
//
// # Search
//
// Up raises all wired ports at once, waits for carriers (a switch port in spanning tree passes
// nothing for 30 seconds), asks for an address by DHCP on each, and returns the first that has one.
// Ports that appear meanwhile are tried too. No gateway and no name server are needed.
//
// The order on each port: raise, carrier, DISCOVER until an offer comes; then, one port at a time:
// REQUEST, address, MTU, routes, name servers. A port that is not chosen never asks for a lease. If
// a step fails, the port gives its lease back and is tried again a second later.
//
// These DHCP options are used: 1, 3, 6, 15, 26 (MTU), 51, 54, 58, 59, 121 (classless routes, which
// replace 3) and the site option 224, a text that names the Troy server. Nothing in an answer is
// trusted: what cannot be an address, a name or a URL is dropped, and an answer without a usable
// address is refused.
//
// # Keep
//
// Link.Keep looks after the lease during long work (RFC 2131, section 4.4.5): it renews by unicast
// at T1, by broadcast at T2 or after the cable was out, and gets a new address when the server
// refuses or the lease has run out. It reports the new address, so that the caller can give up the
// connections that died with the old one (netfetch.HTTP.Reconnect).
//
// # Errors
//
// *Error is an ErrNoLink and says in one line what was seen on each port.
//
// # Known gaps
//
// IPv4 only; no VLAN, no 802.1X, no Wi-Fi. No duplicate address detection before an address is
// used. A lease is not taken over from the firmware. Keep renews with the server that gave the
// lease; another one of a failover pair is asked only after it has run out.
//
// A port with an address is taken even if the Troy server cannot be reached through it: Up can ask
// (Options.useful), but no program makes it do so yet.
package link
