// Package wake sends wake-on-LAN magic packets (AMD 20213: six bytes FF, then the MAC address
// sixteen times) as UDP broadcasts to port 9.
//
// Each packet goes out of every interface that is up and can broadcast, once to 255.255.255.255 and
// once to the directed broadcast address of each of its IPv4 networks, and to the addresses that
// the caller names: those of rooms behind routers, which must be set to forward them. It goes out
// three times, because UDP may be lost, and with a pause of 200 ms between machines, so that a room
// does not draw its current at the same instant.
//
// # Known gaps
//
// That a packet was sent says nothing of a machine that wakes: the firmware must have wake-on-LAN
// switched on, and Windows must have been shut down in a state that keeps the port alive (fast
// startup often does not). SecureOn passwords and IPv6 are not supported.
package wake
