package rooms

import (
	"time"

	"troy/image"
)

// Size is what a machine fetches and writes to come to its goal, in bytes.
type Size struct {
	Fetch int64 `json:"fetch"`
	Write int64 `json:"write"`
	// Manifest is the SHA-256 of the goal's manifest, in hex; "" = not known.
	Manifest string `json:"-"`
	// Setup says that the Windows of the goal has still to be set up.
	Setup bool `json:"-"`
	// Published and Note are what the goal's manifest says of itself.
	Published time.Time `json:"-"`
	Note      string    `json:"-"`
	// Virtual is the size of the goal's disk. Taken is what the one of the image's last versions
	// that changed most took in a slot; it is known for machines that hold nothing.
	Virtual, Taken int64 `json:"-"`
	// Fields are the places of the goal for what is a machine's own.
	Fields []image.Field `json:"-"`
}
