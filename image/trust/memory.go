package trust

import "troy/internal/format"

// memory is what a client remembers. None of it is trusted but what follows from the pinned root by
// signatures. Where it is kept says which program wrote it, and what a reader needs.
type memory struct {
	Roots     [][]byte `json:"roots,omitempty"`
	Timestamp []byte   `json:"timestamp,omitempty"`
	Snapshot  []byte   `json:"snapshot,omitempty"`
	Servers   []byte   `json:"servers,omitempty"` // the newest list; the one thing that is believed as it lies here

	Unknown format.Unknown `json:",embed"`
}

func (m *memory) encode() []byte {
	if len(m.Roots) == 0 && m.Timestamp == nil && m.Snapshot == nil && m.Servers == nil {
		return nil
	}
	b, err := format.Marshal(m)
	if err != nil {
		return nil // bytes always encode
	}
	return b
}

// decode leaves the memory empty if b is not what encode made.
func (m *memory) decode(b []byte) {
	if format.Unmarshal(b, m) != nil {
		*m = memory{}
	}
}
