// Package regf reads and writes Windows registry hives (REGF 1.3) as whole trees, and looks single
// values up in hives of any size.
//
// # What it promises
//
// Parse takes the bytes of a hive and returns its tree, or an error that wraps
// ErrCorrupt or ErrUnsupported; it never panics, and works in time and memory
// linear in the length of its input. Every size and offset in the file is a
// claim that is checked against the bytes that are there. A cell belongs to
// one owner: a hive in which two lists share a key or a value is refused, so a
// loop cannot exist.
//
// Reader reads no more of a hive than lies on the way to a value or to the names of subkeys, also
// data that is split into several cells: it is for the hives of a Windows, of 8 to 16 MB. What it
// does not come by may be damaged. Its work is bounded by the number of keys that fit into the
// hive.
//
// Marshal turns a tree into a hive. The same tree gives the same bytes: time
// stamps come from the tree, never from a clock. What Parse returns, Marshal
// keeps: names, types, data, flags, class names, time stamps and security
// descriptors. Cell placement and free cells are not kept.
//
// # Format
//
//	base block   4096 bytes: "regf", two sequence numbers, version, offset of the
//	             root cell, length of the hive bins, checksum (XOR of the first 508 bytes)
//	hive bin     "hbin", its own offset, its size (n × 4096); then cells without gaps
//	cell         int32 size, negative when in use, a multiple of 8
//	nk           a key: name, list of subkeys, list of values, security, class
//	vk           a value: name, type, data (up to 4 bytes inside the cell itself)
//	lf lh li ri  lists of subkeys, sorted by upper-case name; ri lists lists
//	sk           a security descriptor, shared; all of them form a ring
//
// Offsets of cells count from the first hive bin, byte 4096 of the file.
//
// # Order of writes
//
// This package writes no files. A hive whose two sequence numbers differ was
// not written to its end: Hive.Dirty says so, and the newest changes may stand
// in its .LOG1 and .LOG2 files.
//
// # Known gaps
//
// Transaction logs are not read. Data over 16344 bytes that a hive of version
// 1.4 or later splits into a db cell is refused with ErrUnsupported, as are keys
// marked as volatile and hives over MaxSize. Numbers of volatile subkeys, which
// mean something in memory only, are ignored and written as zero. Marshal writes one flat list of
// subkeys per key and refuses more than 500.
package regf
