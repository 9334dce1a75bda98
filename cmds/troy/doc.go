// Command troy is what the admin runs: it publishes versions of images and serves them to the
// rooms. "troy --help" lists the commands, docs/cli.md all of them with their flags.
//
// Functions build the commands, for streams that are given to them: newRoot makes the tree for one
// run. Each command has a constructor with its synopsis and flags, and a method that does the work.
// Package troy/internal/cli turns an error into one line and an exit code.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage, 5 a check found something wrong.
package main
