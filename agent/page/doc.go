// Package page is what the PC's screen shows: one calm page, made anew from a [State] each time
// something changes. It is a pure function; package screen puts it on a terminal.
//
// # Promises
//
//   - A page has [Height] lines of at most [Width] characters, so it fits the smallest text screen
//     there is, and nothing scrolls.
//   - What servers, disks and firmware say is shown without control characters. The font of the
//     kernel's console has the characters of code page 437; others lose their accents, or are
//     shown as question marks. Long texts are cut.
//   - A photograph of a page that shows a fault has all that a person on the telephone asks for:
//     what is wrong, whether the disk was touched, what to do, whom to call, and what the machine
//     is.
//
// # Known gaps
//
//   - The page is in English.
//   - Text in scripts that code page 437 lacks (Cyrillic, Chinese) becomes question marks.
package page
