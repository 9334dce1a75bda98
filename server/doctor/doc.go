// Package doctor looks at a server before, or while, "troy serve" runs on it, and says what keeps
// machines from being served and what to do.
//
// # Promises
//
// Nothing is changed: a port is opened for an instant at most, and not if it is in use. Each
// finding is one line, with what to do in another if there is something. Fault: machines will not
// be served as asked for. Doubt: they may not be, or not for long. What could not be looked at is a
// Doubt, never a Good.
//
//	ports       each is free, or a troy has it
//	firewall    what nft and iptables list drops no port that is not named in it
//	addresses   there is one that others can reach, and it is not a lease that may change
//	boot        the files are there that network boot names, and not cut off
//	cert        of the page: it fits its key and authority, holds, and has the addresses of this machine
//	clock       the kernel is synchronised, and the year is not before that of the program
//	space       of the folders that the server writes to
//	owner       of the server's files in a store, and of the certificate's key, is the store's owner,
//	            and not root in another's folder
//	page        at least one user can sign in on it
//	firmware    what the store gives machines to start is not refused by one that has checked in:
//	            shim, GRUB, Windows Boot Manager (package programs)
//	secrets     of lab.yaml go into files that users of the PCs cannot read
//	state       the server's state file and its copy are whole
//	signed      the signatures of the store hold, and not only for days; no machine that is known by
//	            its key has seen newer ones (it was restored from an old backup)
//	machines    none left Troy, none ran Windows without the agent, none is silent for too long
//	server      its key is in the signed list: machines take it
//
// # Known gaps
//
// The firewall is judged by the text of its rules: a default of drop or reject in the input hook,
// and whether the port's number is in a rule that accepts. Sets, ports by name, jumps and other
// machines' firewalls are not followed, so it says "look" and not "is". Reading rules needs root.
package doctor
