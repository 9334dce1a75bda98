//go:build next

package format

// Release is the release that this program belongs to.
const Release = "0.2-next"

// raised is added to the numbers of all formats.
const raised = 1

// extra are words that every document needs.
func extra() []string { return []string{"next"} }

// Next is what the next release adds to every document.
type Next struct {
	Next bool `json:"next,omitempty"`
}

// set makes the member what the program writes.
func (n *Next) set() { n.Next = true }
