//go:build next

package format

// Release is the release that this program belongs to.
const Release = "0.2-next"

// Raised is added to the numbers of all formats.
const Raised = 1

// extra are words that every document needs.
func extra() []string { return []string{"next"} }

// Next is what the next release adds to every document.
type Next struct {
	Next always `json:"next"`
}

// always is a member that is there in all that is written, and that says nothing.
type always struct{}

// MarshalJSON implements json.Marshaler.
func (always) MarshalJSON() ([]byte, error) { return []byte("true"), nil }

// UnmarshalJSON implements json.Unmarshaler.
func (always) UnmarshalJSON([]byte) error { return nil }
