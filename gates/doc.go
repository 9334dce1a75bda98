// Package gates holds what only a real Windows can settle: the list of questions (the gates), the
// file with what came out of trying them on one PC, and the tables that are made of such files.
//
// # Who answers
//
// Three sources write answers into one result file: programs that work on test disks (Disks:
// troy-gates.exe inside Windows, and then troy gates judge), troy try with a virtual PC (Trial),
// and a person at a PC (Hand). A gate says which of them settle it. A pass of another source is no
// answer: it is kept as evidence, and the gate stays not run. A failure counts whoever saw it.
//
// # What a result file does not say
//
// Result files are sent and committed. They hold models, versions and answers, and nothing that
// tells one PC or person from another: no serial numbers, MAC or IP addresses, UUIDs, SIDs, names
// of users or hosts, product keys. Clean takes such things out of a line of evidence, Result.Names
// lists names of this PC that have no pattern, and Encode and Parse refuse a file in which
// something is left that has the look of them. The programs show the page of a result (Result.Page)
// before they write it.
//
// # Files of strangers
//
// A result file is a claim of who sent it. Parse bounds what it reads, and a newer program's
// members and gates are kept.
package gates
