// Package format holds the rules by which documents outlive the programs that wrote them: for
// every JSON document that travels from one program to another or is kept on a disk.
// docs/compatibility.md lists the documents.
//
// # Reading
//
// A document is one JSON value. Duplicate members, members that differ from a known one only in
// case, invalid UTF-8 and anything after the document are refused: two programs could read such a
// document differently. Unknown members are ignored. A program that rewrites a document it has read
// keeps them: its type has a field of type Unknown.
//
// # Format and needs
//
// A document begins with a Head. Its number, "format", says which program wrote it: a number rises
// at most once per release. A newer number alone is no reason to refuse a document. What a reader
// must not ignore has a word, and "needs" lists the words: a reader that lacks one of them refuses
// the document and names the word (NeedsError). A number older than the oldest that the program
// still reads is refused, too (OldError).
//
// Documents that an older program has to read on its way to a newer release carry no needs
// (Kind.Bare). What changes in one of them has to be something that all readers may ignore.
//
// # The next program
//
// The build tag next makes, of the same sources, a program as the next release may be: every number
// is higher by one, and every document has one more member ("next") and, unless it is bare, one more
// word ("next"), which only this program understands. Tests use it to show what today's programs do
// with documents of a program that is not written yet.
package format
