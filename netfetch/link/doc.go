// Package link brings a wired port up and keeps its address. Only the agent needs it: it uses
// netlink and raw sockets, so it runs on Linux, as root.
//
//	l, err := link.Up(ctx, &link.Options{Static: net.Static, Ports: net.Ports, Useful: answers})
//	…
//	go l.Keep(ctx, &link.KeepOptions{Changed: func(*link.Link) { mirrors.Reconnect() }})
//
// # Search
//
// Up raises all wired ports at once, waits for carriers, asks for an address by DHCP on each, and
// returns the one whose network is of use: Options.Useful says so, once a port has its address, and
// has 5 seconds for it. Ports that appear meanwhile are tried too. No gateway and no name server are
// needed.
//
// On each port: raise, carrier, DISCOVER until an offer comes (a switch port in spanning tree, one
// that waits for 802.1X or LACP, passes nothing for half a minute and more, and no carrier tells
// when it opens). All offers within 0.3 s after the first are looked at, and those of other ports
// that have a carrier within another 0.5 s. They are tried in this order: offers with option 224,
// then those of the port that the firmware loaded by (Options.First), then as they came; one that is
// first in all of this is waited for no longer. For each: REQUEST, address, MTU, routes, name
// servers, Useful. What is not chosen is taken off again, leases are given back, and a port whose
// network is of no use is asked again after 3 seconds: 802.1X may have put it into another one.
//
// Where nothing is of use, Up settles for the best that has an address, and says so (Link.Doubt): at
// the end of Options.Wait, or after 4 seconds if the server's machine refused the connection, so is
// there, and no other port has a carrier that might still bring something.
//
// # What is believed
//
// These DHCP options are used: 1, 3, 6, 15, 26 (MTU), 51, 54, 58, 59, 121 (classless routes, which
// replace 3) and the site option 224, a text that names the Troy server. Nothing in an answer is
// trusted: what cannot be an address, a name or a URL is dropped, and an answer without a usable
// address is refused. Servers that break rules are believed as far as RFC 2131 lets a client, and
// Link.Odd says what was wrong:
//
//	no option 54, in offer or ACK   the server is who sent the answer, else siaddr
//	no end option                   the message ends where it ends
//	an option that is cut off       it is left out; the others count
//	option 52 (overload)            options in file, then in sname
//	an option given twice           the values are joined (RFC 3396); the same value twice is one
//	a mask that is none             that of the address class (RFC 950)
//	an MTU below 576, or above      that of the port: no path is made wider by a DHCP server
//	the port's own
//	no chaddr                       the transaction is ours alone; another machine's is refused
//	T1, T2 out of order             1/2 and 7/8 of the lease
//	an ACK or NAK of a server       left alone, unless it acknowledges the address that was asked for
//	that was not asked
//
// What is refused (proxyDHCP, BOOTP, another machine's, another transaction) is counted, and Port
// says what came, from whom, and why it was refused. "No DHCP answer" means that there was none.
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
// used. A lease is not taken over from the firmware. Candidates are tried one at a time, since each
// changes routes and name servers; one that is silent costs 5 seconds. Answers of BOOTP, without a
// message type, are refused, though RFC 1534 lets a client take them.
package link
