// Package netlab is a PC and a switch with a DHCP server, each in a network namespace of its own,
// for tests of what talks to the kernel and to networks.
//
// The switch's bridge br0 has 10.77.0.1/24. Port ethN of the PC hangs on port pN of the switch
// (Cable). The DHCP server is dnsmasq. Everything ends with the test.
//
// It needs root, iproute2 and dnsmasq; without them the test fails.
package netlab
