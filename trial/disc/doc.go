// Package disc makes the disc of a trial: a small ISO 9660 image with an order for one start of
// Windows, the program that carries it out, and the script that the first logon runs. Package
// inside says what they hold.
//
// The names on it have at most 8.3 characters, and no extension of the format is used, so all that
// reads ISO 9660 reads the same. The image appears under its name whole, or not at all.
package disc
