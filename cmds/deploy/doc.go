// Command deploy is the agent: u-root's init runs it on the machine, before Windows.
//
// It finds the machine's disk, brings up the network, asks the server what the machine shall run, fetches the changed
// pages, stages them into the inactive slot, commits, merges when the policy says so, and hands the machine to Windows
// Boot Manager. Whatever goes wrong it says in one line that a photo can show, reports if it can, and starts the version
// that is on the disk: it never strands a machine.
//
// # Kernel arguments
//
//	troy.server=http://host:port   the server; without it the machine starts what it has
//	troy.ip=…, troy.port=…         a static address instead of DHCP, the port to use: see package netfetch
//	troy.disk=/dev/…               work on this disk only
//	troy.shell                     stop in a shell instead of restarting the machine
//
// The same can be given as flags when the program is run by hand from the rescue shell (deploy -h).
//
// # Exit codes
//
//	0  deployed, or nothing to do
//	2  wrong usage
//	3  stopped, the disk is untouched
//	4  unfinished but safe: the machine starts; run again
//	5  a check failed: what was written did not read back right, or Windows could not be handed the machine
//
// # Order
//
// disk → finish what an earlier start left (lazy merge) → network → check-in → plan → stage (fetch) → commit → merge → hand-off.
// Each step is a method of agent with that name. Nothing is written before the NTFS volume was judged, every file was
// mapped and compared with what the journal recorded, and the plan was found to fit.
package main
