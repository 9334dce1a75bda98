package efiboot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/u-root/u-root/pkg/efivarfs"
	"golang.org/x/sys/unix"

	"troy/internal/guid"
)

// folder keeps EFI variables as efivarfs shows them: one file for each, named
// for variable and namespace, four bytes of attributes before the data. The
// firmware's part is played by refuse and forget.
type folder struct {
	dir    string
	refuse map[string]error // writes of these variables fail
	forget map[string]bool  // writes of these succeed and change nothing
	writes []string
}

func newFolder(t testing.TB) *folder {
	return &folder{dir: t.TempDir(), refuse: map[string]error{}, forget: map[string]bool{}}
}

func (f *folder) file(d efivarfs.VariableDescriptor) string {
	return filepath.Join(f.dir, d.Name+"-"+d.GUID.String())
}

func (f *folder) Get(d efivarfs.VariableDescriptor) (efivarfs.VariableAttributes, []byte, error) {
	b, err := os.ReadFile(f.file(d))
	if err != nil {
		return 0, nil, err
	}
	if len(b) < 4 {
		return 0, nil, fmt.Errorf("variable of %d bytes", len(b))
	}
	return efivarfs.VariableAttributes(binary.LittleEndian.Uint32(b)), b[4:], nil
}

func (f *folder) Set(d efivarfs.VariableDescriptor, a efivarfs.VariableAttributes, data []byte) error {
	f.writes = append(f.writes, d.Name)
	if err := f.refuse[d.Name]; err != nil {
		return err
	}
	if f.forget[d.Name] {
		return nil
	}
	return os.WriteFile(f.file(d), append(binary.LittleEndian.AppendUint32(nil, uint32(a)), data...), 0o600)
}

func (f *folder) Remove(d efivarfs.VariableDescriptor) error { return os.Remove(f.file(d)) }

func (f *folder) List() ([]efivarfs.VariableDescriptor, error) {
	entries, err := os.ReadDir(f.dir)
	var list []efivarfs.VariableDescriptor
	for _, e := range entries {
		cut := len(e.Name()) - 36
		list = append(list, efivarfs.VariableDescriptor{Name: e.Name()[:cut-1], GUID: uuid.MustParse(e.Name()[cut:])})
	}
	return list, err
}

// put writes a variable in the way that efivarfs would show it.
func (f *folder) put(t testing.TB, name string, data []byte) {
	t.Helper()
	b := append([]byte{7, 0, 0, 0}, data...)
	if err := os.WriteFile(filepath.Join(f.dir, name+"-8be4df61-93ca-11d2-aa0d-00e098032b8c"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// content is the folder, name of variable to content, attributes included.
func (f *folder) content(t testing.TB) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(f.dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(b)
	}
	return all
}

const suffix = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"

func otherOption(t testing.TB, path string) []byte {
	t.Helper()
	e := Entry{Partition: HardDrive{GUID: GUID{9}}, Path: path}
	b, err := e.option().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testEntry(t testing.TB) Entry {
	return Entry{
		Partition:   HardDrive{1, 0x800, 0x82000, guid.Must(espText)},
		Path:        `\EFI\Microsoft\Boot\bootmgfw.efi`,
		Description: "Windows Boot Manager",
	}
}

func TestEnsureEntryCreates(t *testing.T) {
	f := newFolder(t)
	f.put(t, "Boot0000", otherOption(t, `\a.efi`))
	f.put(t, "Boot0001", []byte("broken, but taken"))
	f.put(t, "Boot0003", otherOption(t, `\b.efi`))
	f.put(t, "BootOrder", []byte{3, 0, 0, 0})
	// Same name, other namespace: not an entry.
	if err := os.WriteFile(filepath.Join(f.dir, "Boot0002-"+espText), []byte{7, 0, 0, 0, 1}, 0o600); err != nil {
		t.Fatal(err)
	}
	before := f.content(t)

	n, created, err := EnsureEntry(newVariables(f), testEntry(t))
	if n != 2 || !created || err != nil {
		t.Fatalf("EnsureEntry = %d, %v, %v, want 2, true", n, created, err)
	}
	option, err := testEntry(t).option().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	before["Boot0002"+suffix] = "\x07\x00\x00\x00" + string(option)
	before["BootOrder"+suffix] = "\x07\x00\x00\x00\x03\x00\x00\x00\x02\x00"
	if got := f.content(t); !maps.Equal(got, before) {
		t.Errorf("variables %q\nwant      %q", got, before)
	}
	if want := []string{"Boot0002", "BootOrder"}; !slices.Equal(f.writes, want) {
		t.Errorf("writes %q, want %q", f.writes, want)
	}
}

func TestEnsureEntryFinds(t *testing.T) {
	f := newFolder(t)
	f.put(t, "Boot0000", windowsOption(t))
	f.put(t, "Boot0007", windowsOption(t))
	f.put(t, "BootOrder", []byte{7, 0, 5, 0, 0, 0})
	n, created, err := EnsureEntry(newVariables(f), testEntry(t))
	if n != 7 || created || err != nil || len(f.writes) != 0 {
		t.Errorf("EnsureEntry = %d, %v, %v with writes %q, want 7 without any", n, created, err, f.writes)
	}
}

// BootOrder may name an entry that is gone; made again, it is in its place.
func TestEnsureEntryNamedAlready(t *testing.T) {
	f := newFolder(t)
	f.put(t, "BootOrder", []byte{0, 0, 4, 0})
	n, created, err := EnsureEntry(newVariables(f), testEntry(t))
	if n != 0 || !created || err != nil || !slices.Equal(f.writes, []string{"Boot0000"}) {
		t.Errorf("EnsureEntry = %d, %v, %v with writes %q", n, created, err, f.writes)
	}
}

func TestEntriesOrder(t *testing.T) {
	f := newFolder(t)
	for _, name := range []string{"Boot0001", "Boot0002", "Boot0009", "Boot00FF"} {
		f.put(t, name, otherOption(t, `\a.efi`))
	}
	f.put(t, "Boot0003", []byte("broken"))
	f.put(t, "BootOrder", []byte{9, 0, 3, 0, 4, 0, 2, 0})
	entries, err := Entries(newVariables(f))
	var got []uint16
	for _, e := range entries {
		got = append(got, e.Number)
	}
	if want := []uint16{9, 2, 1, 0xff}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Entries = %v, %v, want %v", got, err, want)
	}
}

func TestEnsureEntryActivates(t *testing.T) {
	f := newFolder(t)
	off := windowsOption(t)
	off[0] = 8 // hidden, not active
	f.put(t, "Boot000A", off)
	n, created, err := EnsureEntry(newVariables(f), testEntry(t))
	if n != 10 || created || err != nil {
		t.Fatalf("EnsureEntry = %d, %v, %v", n, created, err)
	}
	off[0] = 9
	if got := f.content(t)["Boot000A"+suffix]; got != "\x07\x00\x00\x00"+string(off) {
		t.Errorf("entry reads %x, want %x", got, off)
	}
}

func TestEnsureEntryRefused(t *testing.T) {
	for _, name := range []string{"Boot0000", "BootOrder"} {
		f := newFolder(t)
		f.refuse[name] = unix.ENOSPC
		_, created, err := EnsureEntry(newVariables(f), testEntry(t))
		if !errors.Is(err, ErrRefused) || !errors.Is(err, unix.ENOSPC) || created != (name == "BootOrder") {
			t.Errorf("%s refused: created %v, error %v", name, created, err)
		}
	}
}

func TestSetBootNext(t *testing.T) {
	f := newFolder(t)
	v := newVariables(f)
	if _, ok := BootNext(v); ok {
		t.Error("BootNext without the variable")
	}
	for range 2 {
		if err := SetBootNext(v, 0x1234); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.content(t)["BootNext"+suffix]; got != "\x07\x00\x00\x00\x34\x12" {
		t.Errorf("BootNext holds %x", got)
	}
	if n, ok := BootNext(v); n != 0x1234 || !ok {
		t.Errorf("BootNext = %#x, %v", n, ok)
	}
	if len(f.writes) != 1 {
		t.Errorf("%d writes of one value, want 1", len(f.writes))
	}
}

func TestSetBootNextRefused(t *testing.T) {
	f := newFolder(t)
	f.refuse["BootNext"] = unix.EIO
	if err := SetBootNext(newVariables(f), 1); !errors.Is(err, ErrRefused) || !errors.Is(err, unix.EIO) {
		t.Errorf("write fails: %v", err)
	}
	f = newFolder(t)
	f.forget["BootNext"] = true
	if err := SetBootNext(newVariables(f), 1); !errors.Is(err, ErrRefused) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("write is lost: %v", err)
	}
	f.put(t, "BootNext", []byte{9, 0})
	if err := SetBootNext(newVariables(f), 1); !errors.Is(err, ErrRefused) {
		t.Errorf("old value stays: %v", err)
	}
}

func TestPutFirst(t *testing.T) {
	tests := []struct {
		order, want []byte
		changed     bool
	}{
		{[]byte{1, 0, 2, 0, 3, 0}, []byte{2, 0, 1, 0, 3, 0}, true},
		{[]byte{2, 0, 1, 0}, []byte{2, 0, 1, 0}, false},
		{[]byte{1, 0}, []byte{2, 0, 1, 0}, true},
		{[]byte{}, []byte{2, 0}, true},
		{[]byte{1, 0, 2, 0, 2, 0}, []byte{2, 0, 1, 0}, true},
	}
	for _, tt := range tests {
		f := newFolder(t)
		f.put(t, "BootOrder", tt.order)
		changed, err := PutFirst(newVariables(f), 2)
		got := []byte(f.content(t)["BootOrder"+suffix])[4:]
		if changed != tt.changed || err != nil || !bytes.Equal(got, tt.want) {
			t.Errorf("%v: PutFirst = %v, %v, order %v, want %v", tt.order, changed, err, got, tt.want)
		}
	}
	f := newFolder(t)
	if changed, err := PutFirst(newVariables(f), 2); !changed || err != nil {
		t.Errorf("no BootOrder: PutFirst = %v, %v", changed, err)
	}
	f.put(t, "BootOrder", []byte{1, 2, 3})
	if _, err := PutFirst(newVariables(f), 2); !errors.Is(err, ErrCorrupt) {
		t.Errorf("three bytes: %v, want ErrCorrupt", err)
	}
}

func TestNumber(t *testing.T) {
	for name, want := range map[string]int{
		"Boot0000": 0, "BootFFFF": 0xffff, "Boot00A1": 0xa1,
		"Boot00a1": -1, "BootNext": -1, "BootOrder": -1, "Boot+001": -1, "Boot001": -1, "Drvr0001": -1, "": -1,
	} {
		n, ok := number(name)
		if ok != (want >= 0) || ok && int(n) != want {
			t.Errorf("number(%q) = %d, %v, want %d", name, n, ok, want)
		}
	}
}

// Started without UEFI firmware there is nothing to open. A machine that has it
// is left alone: opening might mount efivarfs.
func TestOpenVariables(t *testing.T) {
	if _, err := os.Stat("/sys/firmware/efi"); !errors.Is(err, fs.ErrNotExist) {
		t.Logf("this machine has UEFI firmware, ErrNotEFI cannot be seen here (%v)", err)
		return
	}
	if v, err := OpenVariables(); !errors.Is(err, ErrNotEFI) {
		t.Errorf("OpenVariables = %v, %v, want ErrNotEFI", v, err)
	}
}
