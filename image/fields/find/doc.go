// Package find looks for the fields of a version on the virtual disk that is published: for the
// places of what is a machine's own, in the registry and in files of its Windows. Package fields
// writes them. Only who publishes needs this package.
//
// # Promises
//
// Fields gives only places where overwriting changes the value and nothing else: bytes inside the
// clusters of one file with one name on a volume that was dismounted in order, and in a registry
// whose last write ended, inside a cell that the cells before it lead to. Everything on the disk is
// a claim. What cannot be a field is said once, in a note, and never an error.
//
// # What is looked for
//
// Names and numbers in the hive SYSTEM, in each control set that may start: Select\Current, Default
// and LastKnownGood. \Troy\machine.json: its size is the room. The unattend.xml that the setup of
// Windows finds first, if spaces follow its last element: its slots are the elements of the passes
// specialize and oobeSystem that hold nothing but text, and whose path is there once. Those of
// commands are none: values are the server's word, and what Windows runs has to be signed.
//
// A file is private if its security descriptor lets nobody but SYSTEM and administrators do anything
// with it. Values for others are no secrets; a note says so of an answer file with an element that
// is for one.
//
// # Known gaps
//
//   - The logs of a hive are not read: a hive that was not closed has no fields.
//   - The answer file has to be UTF-8. One that the registry names (Setup\UnattendFile) is not looked
//     for.
//   - Places hold what the publisher's Windows has there. That it is a placeholder, and not the name
//     or the secret of a PC, nothing looks at: an image that is made of a PC of Troy's needs that.
package find
