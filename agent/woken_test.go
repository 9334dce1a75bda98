package agent

import (
	"slices"
	"testing"
)

// system is a table with a BIOS structure and one of the system.
func system(size int, wake byte) []byte {
	bios := append([]byte{0, 4, 0, 0}, "Vendor\x00Version\x00\x00"...)
	s := make([]byte, size)
	s[0], s[1] = 1, byte(size)
	if size > 0x18 {
		s[0x18] = wake
	}
	return slices.Concat(bios, s, []byte("Maker\x00\x00"), []byte{127, 4, 0, 0, 0, 0})
}

func TestWoken(t *testing.T) {
	for _, test := range []struct {
		name  string
		table []byte
		want  bool
	}{
		{"by the power switch", system(0x1b, 6), false},
		{"by the network", system(0x1b, 5), true},
		{"by PCI", system(0x1b, 7), true},
		{"by a timer", system(0x1b, 3), true},
		{"as the current came back", system(0x1b, 8), false},
		{"nothing is said", system(0x1b, 2), false},
		{"SMBIOS 2.0", system(8, 5), false},
		{"cut off", system(0x1b, 5)[:30], false},
		{"no table", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := wokenBy(test.table); got != test.want {
				t.Errorf("woken: %v", got)
			}
		})
	}
}

func FuzzWoken(f *testing.F) {
	f.Add(system(0x1b, 5))
	f.Add(system(8, 0))
	f.Add([]byte{1, 0, 0, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, b []byte) { wokenBy(b) })
}
