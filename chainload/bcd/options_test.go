package bcd

import (
	"testing"

	"troy/internal/guid"
)

// A patch keeps the options of a VHDX file that are there, and no others.
func TestPatchOptions(t *testing.T) {
	v := testVHD(t)
	other := VHD{v.Disk, GUID{1}, `\other.vhdx`}
	there, missing := guid.Must(loaderText), GUID{1}
	opaque := optionDevice{there, opaqueDevice{appendWords(nil, 9, 0, headSize, 0)}}
	for _, tc := range []struct {
		name    string
		before  device
		options GUID // that stay
	}{
		{"none", other.device(osDevice), GUID{}},
		{"of a VHDX file", optionDevice{there, other.device(systemRootElement)}, there},
		{"that are missing", optionDevice{missing, other.device(systemRootElement)}, GUID{}},
		{"of a partition", optionDevice{there, partitionDevice{ID: GUID{1}}}, GUID{}},
		{"of a kind that is not known", opaque, GUID{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := parse(t, testStore(t))
			loader := "{" + loaderText + "}"
			e, err := s.value(loader, osDevice)
			if err != nil {
				t.Fatal(err)
			}
			e.Data = encodeDevice(tc.before)
			if err := s.PatchVHD(v); err != nil {
				t.Fatal(err)
			}
			b, err := s.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			s = parse(t, b)
			if err := s.Names(v); err != nil {
				t.Errorf("Names after the patch: %v", err)
			}
			if e, err = s.value(loader, osDevice); err != nil || GUID(e.Data[:16]) != tc.options {
				t.Errorf("options %x, %v, want %v", e.Data[:16], err, tc.options)
			}
		})
	}
}
