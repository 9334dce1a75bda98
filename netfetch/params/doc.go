// Package params reads what the kernel command line, and the config file of the boot media, say
// about the network. The agent follows it; the admin's command
// checks with it what it writes to media.
//
// # Format
//
//	troy.ip=dhcp
//	troy.ip=192.0.2.10/24[,gw=192.0.2.1][,dns=192.0.2.53]…[,port=PORT]
//	troy.port=PORT[,PORT]…        by name (eth0), MAC address, or a pattern for name, MAC address
//	                              or driver (en*, 52:54:00:*, igc)
//	troy.link-patience=SECONDS    how long to wait for a network
//	BOOTIF=01-52-54-00-12-34-56   as boot loaders write it: the port that the firmware loaded by
//	troy.server=URL|HOST[:PORT][,URL|HOST[:PORT]]…
//
// Words are separated by white space, double quotes keep one together, and a "#" at the beginning
// of a word makes the rest of its line a comment. Blanks around the parts of a value, which quotes
// may keep, do not count. Later words override earlier ones. Words with
// other keys are ignored: they belong to the kernel or to other parts of the agent.
//
// # Promises
//
// An address that Parse returns can belong to one host in its subnet; a server is a base URL that
// netfetch.NewHTTP takes. A word that is wrong does not harm the others: the error names each such
// word, on one line, and the rest is returned with it. BOOTIF is no word of Troy's: one that cannot be
// read is ignored.
//
// # Known gaps
//
// IPv4 only. One static address, for one port.
package params
