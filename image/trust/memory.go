package trust

import (
	"bytes"
	"encoding/json"
)

// memory is what a client remembers. None of it is trusted but what follows from the pinned root by
// signatures.
type memory struct {
	Format    int      `json:"format"` // 1
	Roots     [][]byte `json:"roots,omitempty"`
	Timestamp []byte   `json:"timestamp,omitempty"`
	Snapshot  []byte   `json:"snapshot,omitempty"`
	Servers   []byte   `json:"servers,omitempty"` // the newest list; the one thing that is believed as it lies here
}

func (m *memory) encode() []byte {
	if len(m.Roots) == 0 && m.Timestamp == nil && m.Snapshot == nil && m.Servers == nil {
		return nil
	}
	m.Format = 1
	b, err := json.Marshal(m)
	if err != nil {
		return nil // bytes always encode
	}
	return b
}

// decode leaves the memory empty if b is not what encode made.
func (m *memory) decode(b []byte) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil || m.Format != 1 {
		*m = memory{}
	}
}
