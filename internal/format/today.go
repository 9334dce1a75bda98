//go:build !next

package format

// Release is the release that this program belongs to.
const Release = "0.2-dev"

// Raised is added to the numbers of all formats.
const Raised = 0

// extra are words that every document needs.
func extra() []string { return nil }

// Next is what the next release adds to every document: nothing yet.
type Next struct{}
