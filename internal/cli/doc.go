// Package cli holds what the commands of troy and vhdx share: where they write, how an error
// becomes one line and an exit code, and types of flags.
package cli
