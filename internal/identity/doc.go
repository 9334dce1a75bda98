// Package identity decides which machine it is that speaks. It is a leaf: server, agent and permits
// ask the same judge, and read MAC addresses and UUIDs by the same parser.
//
// # Evidence
//
// In this order, without weights:
//
//	1 the pinned key       the client's key, once the server has bound a record to it
//	2 lab.yaml's MAC       of a wired port that stays in the machine; USB adapters do not count
//	3 the SMBIOS UUID      unless it is a placeholder, which many boards share
//	4 nothing              the machine is unknown and shows a code
//
// A machine that an admin assigned by its code is known by its UUID and by the MAC addresses it had
// then, as if lab.yaml listed it.
//
// # Contradictions
//
// Where two pieces of evidence name different machines, the newcomer is in doubt: it is unknown,
// its record is one of its own, and nothing is written on it. The record that it spoke against
// stays as it is, so whoever holds the pinned key goes on. Contradictions are:
//
//   - evidence that names two machines: two MAC addresses, or MAC address and UUID
//   - evidence of a machine that is pinned, without its key
//   - the pinned key with the evidence of another machine, or in hardware that has nothing in
//     common with what was known: a copied disk
//   - a MAC address of lab.yaml with another UUID than that line says
//
// With the pinned key and the MAC address right, a changed UUID is recorded and noted, no more.
// Only lab.yaml, a pin and an admin's assignment can contradict: what others merely claimed cannot,
// or a forger could stop a machine with one check-in.
//
// # Promises
//
// Judge is a pure function of the claims, lab.yaml and the records. Register holds the records with
// an index and applies verdicts; it is not safe for concurrent use. In both: no two machines share
// a record, a record that is pinned is never given to another key, and at most one record has a
// line of lab.yaml. A random test holds this against forgers, adapters that are carried around,
// cloned disks and changed boards.
//
// # Known gaps
//
// Before the first pin everything is a claim: who copies MAC address and UUID of a machine that was
// never seen with a finished disk is taken for it. A machine with a placeholder UUID and only USB
// ports is known by its key alone, so a bare one cannot be given a disk.
package identity
