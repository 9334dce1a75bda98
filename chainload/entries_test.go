package chainload

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"troy/chainload/bcd"
	"troy/chainload/efiboot"
	"troy/chainload/esp"
	"troy/internal/guid"
	"troy/internal/testing/efitest"
)

// entry puts a boot entry into the firmware.
func (m *machine) entry(t testing.TB, n uint16, o *efiboot.LoadOption) {
	t.Helper()
	b, err := o.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	m.fw.Vars[efiboot.Name(n)] = b
}

// onDisk is an option that starts a file of a partition.
func onDisk(id guid.GUID, label, path string) *efiboot.LoadOption {
	hd := efiboot.HardDrive{Number: 1, StartLBA: 2048, Sectors: 532480, GUID: id}
	return &efiboot.LoadOption{Attributes: efiboot.Active, Description: label, Path: []efiboot.Node{hd.Node(), efiboot.FilePath(path)}}
}

// numbers are the entries that there are.
func (m *machine) numbers(t testing.TB) (all []uint16) {
	t.Helper()
	list, err := efiboot.Entries(m.fw)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		all = append(all, f.Number)
	}
	slices.Sort(all)
	return all
}

// putDefault writes the file that firmware starts by default.
func (m *machine) putDefault(t testing.TB, content string) {
	t.Helper()
	dir := filepath.Join(m.opts.espDir, "efi", "Boot")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bootx64.efi"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A PC that is provisioned ten times has one entry of Windows, whatever its ESPs were called.
func TestProvisionedTenTimes(t *testing.T) {
	m := newMachine(t)
	for i := range 10 {
		m.opts.ESP.GUID = guid.GUID{byte(i + 1)}
		r := m.handOff(t)
		if i > 0 && (len(r.Changes) == 0 || !strings.HasPrefix(r.Changes[0], "removed boot entries")) {
			t.Errorf("%q", r.Changes)
		}
	}
	if got := m.numbers(t); len(got) != 1 || !bytes.Equal(m.fw.Vars["BootOrder"], efitest.Words(got...)) {
		t.Errorf("entries %x, BootOrder %x", got, m.fw.Vars["BootOrder"])
	}
}

// What is removed is ours to the letter, and leads nowhere or twice to the same.
func TestRemoveDead(t *testing.T) {
	gone, other := guid.GUID{9}, guid.GUID{8}
	windows, agent := bcd.BootManagerPath, `\EFI\Troy\a\shimx64.efi`
	behind := onDisk(gone, windowsLabel, windows)
	behind.OptionalData = []byte("WINDOWS\x00")
	longer := onDisk(gone, windowsLabel, windows)
	longer.Path = append([]efiboot.Node{{Type: 1, SubType: 1, Data: []byte{0, 0x1f}}}, longer.Path...)
	for name, c := range map[string]struct {
		option *efiboot.LoadOption
		stays  bool
	}{
		"Windows on a disk that is gone":           {onDisk(gone, windowsLabel, windows), false},
		"the agent on a disk that is gone":         {onDisk(gone, "Troy", agent), false},
		"its other copy":                           {onDisk(gone, "Troy (B)", `\EFI\Troy\b\shimx64.efi`), false},
		"a second one for this ESP":                {onDisk(guid.GUID{1}, windowsLabel, windows), false},
		"Windows on another disk that is there":    {onDisk(other, windowsLabel, windows), true},
		"one that Windows made, on a disk gone":    {behind, true},
		"one that the firmware made longer":        {longer, true},
		"another system on a disk that is gone":    {onDisk(gone, "debian", `\EFI\debian\shimx64.efi`), true},
		"our name, another file":                   {onDisk(gone, "Troy", `\EFI\debian\shimx64.efi`), true},
		"our file, another name":                   {onDisk(gone, "My Windows", windows), true},
		"the path of Windows as Windows spells it": {onDisk(gone, windowsLabel, strings.ToUpper(windows)), true},
		"a stick": {&efiboot.LoadOption{Attributes: 1, Description: "Troy", Path: []efiboot.Node{{Type: 3, SubType: 5, Data: []byte{19, 0}}}}, true},
		"one of this ESP that Windows made as well": {&efiboot.LoadOption{Attributes: 1, Description: windowsLabel, Path: onDisk(guid.GUID{1}, "", windows).Path, OptionalData: []byte("WINDOWS\x00")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.opts.partitions = func() ([]guid.GUID, error) { return []guid.GUID{other}, nil }
			m.handOff(t) // entry 0
			m.entry(t, 7, c.option)
			m.fw.Vars["BootOrder"] = efitest.Words(0, 5, 7)
			r := m.handOff(t)
			_, there := m.fw.Vars["Boot0007"]
			want := efitest.Words(0, 5)
			if c.stays {
				want = efitest.Words(0, 5, 7)
			}
			if there != c.stays || !bytes.Equal(m.fw.Vars["BootOrder"], want) || (len(r.Changes) == 0) != c.stays {
				t.Errorf("stays %v, BootOrder %x, said %q", there, m.fw.Vars["BootOrder"], r.Changes)
			}
		})
	}
}

// Where it is not known which partitions there are, only what leads twice to the same is removed;
// and never what started this agent.
func TestRemoveDeadCautious(t *testing.T) {
	m := newMachine(t)
	m.handOff(t)
	m.entry(t, 7, onDisk(guid.GUID{9}, windowsLabel, bcd.BootManagerPath))
	m.opts.partitions = func() ([]guid.GUID, error) { return nil, syscall.EIO }
	if r := m.handOff(t); m.fw.Vars["Boot0007"] == nil || len(r.Notes) != 1 || !errors.Is(r.Notes[0], syscall.EIO) {
		t.Errorf("%+v", r)
	}
	m.opts.partitions = func() ([]guid.GUID, error) { return nil, nil }
	m.fw.Vars["BootCurrent"] = efitest.Words(7)
	if m.handOff(t); m.fw.Vars["Boot0007"] == nil {
		t.Error("the entry that started this agent was removed")
	}
	delete(m.fw.Vars, "BootCurrent")
	m.fw.Refuse["Boot0007"] = syscall.EROFS
	if r := m.handOff(t); len(r.Notes) != 1 || !errors.Is(r.Notes[0], efiboot.ErrRefused) {
		t.Errorf("%+v", r)
	}
}

// A firmware without room: the entry that it has for the default path of this ESP starts Windows,
// and what helps is said once.
func TestVariablesFull(t *testing.T) {
	for name, c := range map[string]struct {
		content string // of the default file
		path    string // of the firmware's entry
		want    bool   // it is used
	}{
		"Windows by the default path": {"MZ and so on", esp.FallbackPath, true},
		"an entry without a path":     {"MZ and so on", "", true},
		"the agent is there":          {"MZ shim", esp.FallbackPath, false},
		"no such file":                {"", esp.FallbackPath, false},
		"another file":                {"MZ and so on", `\EFI\debian\shimx64.efi`, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			if c.content != "" {
				m.putDefault(t, c.content)
			}
			o := onDisk(m.opts.ESP.GUID, "UEFI OS", c.path)
			if c.path == "" {
				o.Path = o.Path[:1]
			}
			m.entry(t, 3, o)
			m.fw.Vars["BootOrder"] = efitest.Words(1, 3)
			for i := range 16 {
				m.fw.Refuse[fmt.Sprintf("Boot%04X", i)] = syscall.ENOSPC
			}
			r, err := HandOff(t.Context(), m.opts)
			if !c.want {
				if !errors.Is(err, ErrFirmware) || !errors.Is(err, ErrFull) || strings.Contains(err.Error(), "\n") || m.fw.Vars["BootNext"] != nil {
					t.Errorf("%+v, %v", r, err)
				}
				return
			}
			if err != nil || r.Method != ByBootNext || !bytes.Equal(m.fw.Vars["BootNext"], efitest.Words(3)) {
				t.Fatalf("%+v, %v", r, err)
			}
			last := r.Notes[len(r.Notes)-1]
			if !errors.Is(last, ErrFull) || len(r.Notes) != 2 || len(r.Changes) != 1 || !strings.Contains(r.Changes[0], "Boot0003") {
				t.Errorf("%q, %q", r.Notes, r.Changes)
			}
			if l, err := Look(m.opts); err != nil || !l.BootNext {
				t.Errorf("left %+v, %v", l, err)
			}
		})
	}
}

// Dead entries make room for the one that is needed.
func TestVariablesFullOfDead(t *testing.T) {
	m := newMachine(t)
	for i := range uint16(4) {
		m.entry(t, i, onDisk(guid.GUID{9, byte(i)}, windowsLabel, bcd.BootManagerPath))
	}
	m.fw.Vars["BootOrder"] = efitest.Words(0, 1, 2, 3)
	m.fw.Most = 5 // variables
	if r := m.handOff(t); r.Method != ByBootNext || len(r.Notes) != 0 || len(m.numbers(t)) != 1 {
		t.Errorf("%+v, entries %x", r, m.numbers(t))
	}
}

// The entry of Windows is there, but not in BootOrder: a reset of the firmware's settings leaves it
// so, and some firmware follows BootNext only to entries of the order.
func TestNotInOrder(t *testing.T) {
	m := newMachine(t)
	m.handOff(t)
	m.fw.Vars["BootOrder"] = efitest.Words(7, 8)
	delete(m.fw.Vars, "BootNext")
	r := m.handOff(t)
	if r.Entry != 0 || r.entryCreated || !bytes.Equal(m.fw.Vars["BootOrder"], efitest.Words(7, 8, 0)) || len(r.Changes) != 1 {
		t.Errorf("%+v, BootOrder %x", r, m.fw.Vars["BootOrder"])
	}
	m.fw.Vars["BootOrder"] = efitest.Words(7, 8)
	m.fw.Refuse["BootOrder"] = syscall.EIO
	if r := m.handOff(t); r.Method != ByBootNext || len(r.Notes) != 1 || !errors.Is(r.Notes[0], efiboot.ErrOrder) {
		t.Errorf("the order is refused: %+v", r)
	}
}
