// Package diskwriter stages, commits, merges and resets the versions of a machine.
package diskwriter
