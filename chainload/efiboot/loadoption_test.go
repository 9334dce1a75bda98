package efiboot

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/u-root/u-root/pkg/uefivars"
	"github.com/u-root/u-root/pkg/uefivars/boot"

	"troy/internal/guid"
)

func unhex(t testing.TB, lines ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(lines, ""), " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// utf16Hex spells ASCII text out, independent of the encoder under test.
func utf16Hex(s string) string {
	var out strings.Builder
	for _, c := range []byte(s) {
		out.WriteString(hex.EncodeToString([]byte{c, 0}))
	}
	return out.String() + "0000"
}

const (
	espText     = "01020304-0506-0708-090a-0b0c0d0e0f10"
	espHex      = "04030201 0605 0807 090a0b0c0d0e0f10"
	managerPath = `\EFI\MICROSOFT\BOOT\BOOTMGFW.EFI`
)

// windowsOption is the entry that Windows makes of itself, with the binary
// data for its boot manager at the end (136 bytes).
func windowsOption(t testing.TB) []byte {
	object := utf16Hex("BCDOBJECT={9dea862c-5cdd-4e70-acc1-f32b344d4795}")
	return unhex(t,
		"01000000", "7400", utf16Hex("Windows Boot Manager"),
		"04012a00", "02000000", "0008000000000000", "0000100000000000", espHex, "0202",
		"04044600", utf16Hex(managerPath),
		"7fff0400",
		"57494e444f575300", "01000000", "88000000", "78000000", object, "0000", "01000000", "10000000", "04000000", "7fff0400")
}

func TestParseWindowsOption(t *testing.T) {
	raw := windowsOption(t)
	o, err := ParseLoadOption(raw)
	if err != nil {
		t.Fatal(err)
	}
	if o.Attributes != Active || o.Description != "Windows Boot Manager" || len(o.Path) != 2 || len(o.OptionalData) != 136 {
		t.Errorf("option %q, attributes %#x, %d nodes, %d bytes of optional data", o.Description, o.Attributes, len(o.Path), len(o.OptionalData))
	}
	hd, ok := o.Path[0].HardDrive()
	if want := (HardDrive{2, 0x800, 0x100000, guid.Must(espText)}); !ok || hd != want {
		t.Errorf("HardDrive = %+v, %v, want %+v", hd, ok, want)
	}
	if p, ok := o.Path[1].FilePath(); !ok || p != managerPath {
		t.Errorf("FilePath = %q, %v", p, ok)
	}
	if !o.Starts(guid.Must(espText), `\EFI\Microsoft\Boot\bootmgfw.efi`) {
		t.Error("does not match itself")
	}
	back, err := o.Marshal()
	if err != nil || !bytes.Equal(back, raw) {
		t.Errorf("Marshal = %x, %v\nwant      %x", back, err, raw)
	}
}

func TestMarshalEntry(t *testing.T) {
	e := Entry{Partition: HardDrive{1, 0x800, 0x82000, guid.Must(espText)}, Path: `\EFI\a.efi`, Description: "A"}
	got, err := e.option().Marshal()
	want := unhex(t, "01000000", "4800", "4100 0000",
		"04012a00 01000000 0008000000000000 0020080000000000", espHex, "0202",
		"04041a00", utf16Hex(`\EFI\a.efi`), "7fff0400")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("Marshal = %x, %v\nwant      %x", got, err, want)
	}
}

// u-root's decoder sees in our entries what we put into them.
func TestMarshalReadByURoot(t *testing.T) {
	e := Entry{Partition: HardDrive{3, 0x12345, 0x82000, guid.Must(espText)}, Path: managerPath, Description: "Windows Boot Manager"}
	data, err := e.option().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	v, err := boot.BootVar(uefivars.EfiVar{UUID: globalVariable, Name: "Boot00A1", Attributes: [4]byte{7}, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	if v.Number != 0xa1 || v.Description != e.Description || len(v.FilePathList) != 2 {
		t.Fatalf("u-root reads %v", v)
	}
	for i, want := range []string{"HD(3,GPT," + espText + ",0x12345,0x82000)", "File(" + strings.ReplaceAll(managerPath, `\`, "/") + ")"} {
		if got := v.FilePathList[i].String(); !strings.EqualFold(got, want) {
			t.Errorf("node %d reads %s, want %s", i, got, want)
		}
	}
}

func TestStarts(t *testing.T) {
	esp := HardDrive{Number: 1, GUID: guid.Must(espText)}
	const path = `\EFI\Microsoft\Boot\bootmgfw.efi`
	pci := Node{Type: 1, SubType: 1, Data: []byte{0, 0x1f}}
	mbr, noGUID := esp.Node(), esp.Node()
	mbr.Data[36] = 1    // partition format: MBR
	noGUID.Data[37] = 1 // signature: 32 bits
	tests := []struct {
		name string
		path []Node
		want bool
	}{
		{"short form", []Node{esp.Node(), FilePath(path)}, true},
		{"full path", []Node{pci, pci, esp.Node(), FilePath(path)}, true},
		{"other place and number", []Node{HardDrive{9, 1, 2, esp.GUID}.Node(), FilePath(path)}, true},
		{"other case", []Node{esp.Node(), FilePath(strings.ToUpper(path))}, true},
		{"split path", []Node{esp.Node(), FilePath(`\EFI\Microsoft`), FilePath(`Boot\bootmgfw.efi`)}, true},
		{"other file", []Node{esp.Node(), FilePath(`\EFI\Boot\bootx64.efi`)}, false},
		{"other ESP", []Node{HardDrive{GUID: GUID{1}}.Node(), FilePath(path)}, false},
		{"MBR disk", []Node{mbr, FilePath(path)}, false},
		{"MBR signature", []Node{noGUID, FilePath(path)}, false},
		{"no file", []Node{esp.Node()}, false},
		{"no partition", []Node{FilePath(path)}, false},
		{"nothing", nil, false},
	}
	for _, tt := range tests {
		if got := (&LoadOption{Path: tt.path}).Starts(esp.GUID, path); got != tt.want {
			t.Errorf("%s: Starts = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestParseLoadOptionBroken(t *testing.T) {
	raw := windowsOption(t)
	end := len(raw) - 136
	for n := range raw {
		_, err := ParseLoadOption(raw[:n])
		if n < end && !errors.Is(err, ErrCorrupt) || n >= end && err != nil {
			t.Errorf("first %d of %d bytes: error %v", n, len(raw), err)
		}
	}
	short := bytes.Clone(raw)
	short[6+42+2] = 3 // length of the first node
	if _, err := ParseLoadOption(short); !errors.Is(err, ErrCorrupt) {
		t.Errorf("node of 3 bytes: error %v", err)
	}
}

func TestMarshalTooLong(t *testing.T) {
	for _, nodes := range [][]Node{
		{{Data: make([]byte, 0xffff)}},
		{{Data: make([]byte, 0x8000)}, {Data: make([]byte, 0x8000)}},
	} {
		if _, err := (&LoadOption{Path: nodes}).Marshal(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d nodes: error %v, want ErrCorrupt", len(nodes), err)
		}
	}
}

func FuzzParseLoadOption(f *testing.F) {
	f.Add(windowsOption(f))
	f.Add(unhex(f, "01000000 0400 0000 7fff0400"))
	f.Add(unhex(f, "00000000 0c00 4100 0000 7fff0400 04040400 7fff0400 ff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseLoadOption(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error %v without its class", err)
			}
			return
		}
		o.Starts(GUID{1}, `\x`)
		out, err := o.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseLoadOption(out)
		if err != nil || !reflect.DeepEqual(again, o) {
			t.Fatalf("%x reads back as %+v, %v, want %+v", out, again, err, o)
		}
	})
}
