// Package link brings a wired port up and keeps its address. Only the agent needs it: it uses netlink
// and raw sockets, so it runs on Linux, as root.
//
// # Search
//
// Up raises all wired ports at once, waits for carriers (a switch port in spanning tree passes nothing
// for 30 seconds), asks for an address by DHCP on each, and returns the first that is useful. Ports
// that appear meanwhile are tried too. The order on each port is: raise, carrier, DISCOVER until an
// offer comes; then one port at a time: REQUEST, set address, MTU, routes and name servers, Useful. A
// port that is not chosen never asks for a lease; one whose lease was of no use gives it back and is
// tried again a second later.
//
// "Useful" means an address that a host can have and, if Options.Useful is set, that it returns no
// error (does the server answer?). No gateway and no name server are needed.
//
// DHCP options that are followed: 1, 3, 6, 12, 15, 26 (MTU), 51, 54, 58, 59, 121 (classless routes,
// which replace 3) and the site option 224, a text that names the Troy server. Answers are the words of
// strangers: what cannot be an address, a name or a URL is dropped, and only an answer without a usable
// address is refused.
//
// # Keep
//
// Link.Keep looks after the lease during long work (RFC 2131, section 4.4.5): it renews by unicast at
// T1, by broadcast at T2 or after the cable was out, and gets a new address when the server refuses or
// the lease has run out. It reports the new address, so that the caller can give up the connections
// that died with the old one (netfetch.HTTP.Reconnect).
//
// # Errors
//
// *Error is an ErrNoLink and says in one line what was seen on each port.
//
// # Known gaps
//
// IPv4 only; no VLAN, no 802.1X, no Wi-Fi. No duplicate address detection before an address is used. A
// lease is not taken over from the firmware. Keep renews with the server that gave the lease; another
// one of a failover pair is asked only after it has run out. Keep does not ask Useful again.
package link
