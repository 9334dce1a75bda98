// Package vhdxcmd holds the commands that work on VHDX files: info, map, check, create, convert, merge
// and relink. They are a program of their own, cmds/vhdx, and a part of troy.
//
// A parent is looked for under the file name that the child's locator gives, in the child's own
// folder, and among the files that --parent names (nearest first); no other path in a file is ever
// followed. New files appear under their name when they are complete and durable, and replace a file
// only with --force. Reading never changes a file: a log that was left behind is replayed in memory.
// merge and relink change files in place.
//
// With --json a command prints one JSON document on the standard output. The exported types of this
// package are these documents. All sizes and offsets are bytes; fields may be added, but none changes
// its meaning. Errors and progress go to the standard error, with or without --json.
package vhdxcmd
