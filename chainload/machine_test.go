package chainload

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/chainload/bcd"
	"troy/internal/guid"
	"troy/internal/testing/efitest"
	"troy/internal/testing/hivextest"
)

// machine is a folder in place of a mounted ESP, and firmware.
type machine struct {
	dir  string // EFI/Microsoft/Boot
	fw   *efitest.Firmware
	opts *Options
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	esp := t.TempDir()
	// The case is that of an ESP made by others.
	m := &machine{dir: filepath.Join(esp, "efi", "Microsoft", "BOOT"), fw: efitest.New()}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	m.put(t, "bootmgfw.efi", []byte("MZ and so on"))
	m.opts = &Options{
		espDir:    esp,
		ESP:       Partition{Number: 1, StartLBA: 2048, Sectors: 532480, GUID: guid.GUID{1}},
		Disk:      guid.GUID{2},
		Data:      guid.GUID{3},
		variables: m.fw,
		// Tests that are about other disks say which there are.
		partitions: func() ([]guid.GUID, error) { return nil, nil },
	}
	return m
}

func (m *machine) put(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) get(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// files lists the names on the ESP.
func (m *machine) files(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (m *machine) vhd() bcd.VHD {
	return bcd.VHD{Disk: m.opts.Disk, Partition: m.opts.Data, Path: `\Troy\boot.vhdx`}
}

// store is a store that boots v.
func store(t testing.TB, v bcd.VHD) []byte {
	t.Helper()
	s, err := bcd.New(v, guid.GUID{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (m *machine) handOff(t testing.TB) *Result {
	t.Helper()
	r, err := HandOff(context.Background(), m.opts)
	if err != nil {
		t.Fatalf("HandOff: %v", err)
	}
	return r
}

// bootsVHD fails the test unless the store on the ESP boots what it should, by
// our reader and by hivex.
func (m *machine) bootsVHD(t testing.TB) {
	t.Helper()
	b := m.get(t, "BCD")
	s, err := bcd.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Names(m.vhd()); err != nil {
		t.Error(err)
	}
	root := hivextest.Read(t, b)
	device := root.Key("Objects").Key(defaultLoader(t, b)).Key("Elements").Key("11000001").Values[0].Data(t)
	v := m.vhd()
	var path []byte
	for _, c := range []byte(v.Path) {
		path = append(path, c, 0)
	}
	for _, want := range [][]byte{v.Disk[:], v.Partition[:], path} {
		if !strings.Contains(device, string(want)) {
			t.Errorf("hivex reads the device %x, want %x in it", device, want)
		}
	}
}

// defaultLoader is the entry that the boot manager starts, as hivex reads it.
func defaultLoader(t testing.TB, store []byte) string {
	t.Helper()
	root := hivextest.Read(t, store)
	return root.Key("Objects").Key(bootManager).Key("Elements").Key("23000003").Values[0].Data(t)
}

// bootManager is the identifier that the boot manager has in every store.
const bootManager = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"
