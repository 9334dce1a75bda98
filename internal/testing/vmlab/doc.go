// Package vmlab is what tests need around the virtual PCs of package vm: a private network with a
// DHCP server, variables that no operating system may write, a keyboard.
//
// A [Network] is a network namespace with a bridge and taps; it has no way out, and needs root.
package vmlab
