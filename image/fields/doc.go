// Package fields writes what is a machine's own (its name, settings, machine.json, answers for the
// setup of Windows) into the fields of a version: it makes, of the fields in a signed manifest and
// of values, the bytes to overwrite on the virtual disk. It knows no file system and no registry;
// package find, which the publisher uses, does.
//
// # Promises
//
// Check says of fields and values alone whether all of them can be written: before a version is
// committed, an agent can tell. Fill checks the same, then that each page that it would change is
// as published, and only then gives edits: all or none. It writes nothing itself. The same fields
// and values give the same edits. A value is written whole, its old bytes are gone: what is left of
// the room is filled with zeros, or spaces in a file.
//
// A secret goes only into a field that is private: into a file that in the version nobody but SYSTEM
// and administrators may read. No error holds a value but a name: the others may be secrets.
//
// # Names
//
//	computer-name                   Control\ComputerName\ComputerName, the name in capitals
//	hostname, nv-hostname           Services\Tcpip\Parameters, the name as it is
//	virtual-disk-expand-on-mount    Services\FsDepends\Parameters
//	hiberboot-enabled               Control\Session Manager\Power
//	disable-password-change         Services\Netlogon\Parameters
//	maximum-password-age            Services\Netlogon\Parameters, days
//	storage-start                   StartOverride\0 of the drivers of disk controllers
//	machine-file                    \Troy\machine.json inside the image
//	answer-file                     the unattend.xml that setup finds, such as that in \Windows\Panther
//
// # Known gaps
//
//   - No real Windows has started from a registry that was changed in this way (gate W10).
//   - A place is overwritten, never moved: what is longer than its room is refused.
package fields
