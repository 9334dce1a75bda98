// Package install joins a store of images and the disk of a machine, for the agent and for troy
// disk: it brings a whole version into a parent (package pcdisk, Fill) and repairs one that
// another program changed.
//
// # Promises
//
// A version is fetched piece by piece, ascending, so that an installation that is cut off goes on
// at the last piece. The index of the image and the tables are read once: all pieces are of one
// version. Chunks are checked by hash before the disk sees them, and Repair reads the whole disk
// back and compares it with the version map before it is allowed to boot.
//
// # Known gaps
//
// A chunk that crosses the end of a piece is fetched twice: at most 1 MiB of some 256. The tables
// stay in memory while a version is installed: about 80 bytes for every 256 KiB of image.
package install
