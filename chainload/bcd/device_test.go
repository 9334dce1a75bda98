package bcd

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"troy/internal/guid"
)

const (
	diskText = "00112233-4455-6677-8899-aabbccddeeff"
	partText = "a0a1a2a3-b0b1-c0c1-d0d1-e0e1e2e3e4e5"
	espText  = "01020304-0506-0708-090a-0b0c0d0e0f10"
	// The same GUIDs as a GPT and a device element hold them.
	diskHex = "33221100 5544 7766 8899aabbccddeeff"
	partHex = "a3a2a1a0 b1b0 c1c0 d0d1e0e1e2e3e4e5"
)

func testVHD(t testing.TB) VHD {
	return VHD{Disk: guid.Must(diskText), Partition: guid.Must(partText), Path: `\Troy\boot.vhdx`}
}

func unhex(t testing.TB, lines ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(lines, ""), " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// utf16Hex spells a path out, independent of the encoder under test.
func utf16Hex(s string) string {
	var out strings.Builder
	for _, c := range []byte(s) {
		out.WriteString(hex.EncodeToString([]byte{c, 0}))
	}
	return out.String() + "0000"
}

// bootHex is what `vhd=[partition]\Troy\boot.vhdx` looks like in a store made
// by bcdedit, at the offsets that boot loaders which patch such stores in place
// rely on: 0x10 type 8, 0x18 size - 0x10, 0x24 element, 0x28 0x1e, 0x36 size -
// 0x2e, 0x3e 6, 0x5e size - 0x56, 0x66 5, 0x6a 1, 0x6e size - 0x6a, 0x72 5,
// 0x76 partition, 0xbe path.
func bootHex(element string) []string {
	return []string{
		"00000000000000000000000000000000",      // 0x00 options object: none
		"08000000 00000000 ce000000 00000000",   // 0x10 locate, 222-16 bytes
		"00000000", element, "1e000000", "0000", // 0x20 by element, parent, no path
		"00000000 00000000 b0000000 00000000",                // 0x2e disk, 222-46 bytes
		"06000000 00000000 00000000000000000000000000000000", // 0x3e virtual
		"00000000 00000000 88000000 00000000",                // 0x56 disk, 222-86 bytes
		"05000000",                                           // 0x66 file
		"01000000 74000000 05000000",                         // 0x6a path, 222-106 bytes
		"06000000 00000000 48000000 00000000",                // 0x76 partition
		partHex, "00000000 00000000", diskHex,                // 0x86 GPT, hard disk
		"00000000000000000000000000000000",                     // 0xae
		"5c00540072006f0079005c0062006f006f0074002e0076006800", // 0xbe \Troy\boot.vh
		"6400780000 00", // dx NUL
	}
}

func TestDeviceBytes(t *testing.T) {
	host := partitionDevice{ID: guid.Must(partText), Disk: guid.Must(diskText)}
	file := fileDevice{On: host, Path: `\x.vhd`}
	tests := []struct {
		name string
		dev  device
		want []byte
	}{
		{"device of the loader", testVHD(t).device(applicationPath), unhex(t, bootHex("02000012")...)},
		{"osdevice of the loader", testVHD(t).device(systemRootElement), unhex(t, bootHex("02000022")...)},
		{"with options", optionDevice{guid.Must(diskText), testVHD(t).device(applicationPath)},
			unhex(t, append([]string{diskHex}, bootHex("02000012")[1:]...)...)},
		{"boot", bootDevice{}, unhex(t, strings.Repeat("00", 16), "05000000 00000000 48000000 00000000", strings.Repeat("00", 56))},
		{"GPT partition", host, unhex(t, strings.Repeat("00", 16), "06000000 00000000 48000000 00000000",
			partHex, "00000000 00000000", diskHex, strings.Repeat("00", 16))},
		{"MBR partition", partitionDevice{ID: GUID{0, 0, 0x10}, Table: tableMBR, Disk: GUID{0xde, 0xad, 0xbe, 0xef}},
			unhex(t, strings.Repeat("00", 16), "06000000 00000000 48000000 00000000",
				"0000100000000000 0000000000000000", "00000000 01000000", "deadbeef"+strings.Repeat("00", 12), strings.Repeat("00", 16))},
		{"locate alone, 46 bytes", locateDevice{Element: applicationPath},
			unhex(t, strings.Repeat("00", 16), "08000000 00000000 1e000000 00000000", "00000000 02000012 00000000 0000")},
		{"qualified", partitionDevice{ID: GUID{1}, Disk: GUID{2}, On: file},
			unhex(t, strings.Repeat("00", 16), "06000000 00000000 ae000000 00000000",
				"01"+strings.Repeat("00", 15), "06000000 00000000", "02"+strings.Repeat("00", 15),
				"00000000 00000000 76000000 00000000", "05000000", "01000000 62000000 05000000",
				"06000000 00000000 48000000 00000000", partHex, "00000000 00000000", diskHex, strings.Repeat("00", 16),
				"5c0078002e007600680064000000")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := encodeDevice(tt.dev)
			if !bytes.Equal(got, tt.want) {
				t.Errorf("encodeDevice = %x\nwant           %x", got, tt.want)
			}
			back, err := decodeDevice(tt.want)
			if err != nil || back != tt.dev {
				t.Errorf("decodeDevice = %#v, %v, want %#v", back, err, tt.dev)
			}
		})
	}
}

// A path of 254 characters makes the 700-byte element known from stores that
// reserve room for any path.
func TestDeviceLongPath(t *testing.T) {
	v := testVHD(t)
	v.Path = `\` + strings.Repeat("p", 253)
	got := encodeDevice(v.device(applicationPath))
	if len(got) != 700 {
		t.Fatalf("element of %d bytes, want 700", len(got))
	}
	for off, want := range map[int]string{0x18: "ac020000", 0x36: "8e020000", 0x5e: "66020000", 0x6e: "52020000"} {
		if h := hex.EncodeToString(got[off : off+4]); h != want {
			t.Errorf("size at %#x = %s, want %s", off, h, want)
		}
	}
	if h := hex.EncodeToString(got[0xbe:]); h != utf16Hex(v.Path) {
		t.Errorf("path = %s", h)
	}
}

func TestVHDOf(t *testing.T) {
	v := testVHD(t)
	host := partitionDevice{ID: v.Partition, Disk: v.Disk}
	file := fileDevice{On: host, Path: v.Path}
	tests := []struct {
		name string
		dev  device
		ok   bool
	}{
		{"locate", v.device(systemRootElement), true},
		{"qualified", partitionDevice{ID: GUID{1}, Disk: GUID{2}, On: file}, true},
		{"qualified, an MBR in the file", partitionDevice{ID: GUID{0, 0, 0x10}, Table: tableMBR, Disk: GUID{0xde, 0xad}, On: file}, true},
		{"locate with options", optionDevice{GUID{1}, v.device(systemRootElement)}, true},
		{"partition with options", optionDevice{GUID{1}, host}, false},
		{"partition", host, false},
		{"boot", bootDevice{}, false},
		{"file itself", file, false},
		{"locate by path", locateDevice{Path: `\x`, Parent: virtualDisk{Parent: file}}, false},
		{"locate on a partition", locateDevice{Element: systemRootElement, Parent: host}, false},
		{"on an MBR disk", locateDevice{Parent: virtualDisk{Parent: fileDevice{On: partitionDevice{Table: tableMBR}, Path: v.Path}}}, false},
		{"in a VHD in a VHD", locateDevice{Parent: virtualDisk{Parent: fileDevice{On: partitionDevice{On: file}, Path: v.Path}}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := vhdOf(tt.dev)
			if ok != tt.ok || ok && got != v {
				t.Errorf("vhdOf = %v, %v, want ok %v", got, ok, tt.ok)
			}
		})
	}
}

func TestDecodeDeviceBroken(t *testing.T) {
	good := unhex(t, bootHex("02000012")...)
	for n := range good {
		if _, err := decodeDevice(good[:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("first %d bytes: error %v, want ErrCorrupt", n, err)
		}
	}
	if _, err := decodeDevice(append(bytes.Clone(good), 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte too many: error %v, want ErrCorrupt", err)
	}
	deep := device(bootDevice{})
	for range 10 {
		deep = virtualDisk{Parent: deep}
	}
	if _, err := decodeDevice(encodeDevice(deep)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("10 levels: error %v, want ErrCorrupt", err)
	}
}

// What is not understood to the last byte must not be taken for a VHDX file.
func TestDecodeDeviceOpaque(t *testing.T) {
	good := unhex(t, bootHex("02000012")...)
	for _, off := range []int{0x14 /* flags */, 0x20 /* kind */, 0x46, 0x6a, 0x72, 0xae} {
		b := bytes.Clone(good)
		b[off] ^= 0x40
		d, err := decodeDevice(b)
		if err != nil {
			t.Errorf("bit at %#x: %v", off, err)
			continue
		}
		if v, ok := vhdOf(d); ok {
			t.Errorf("bit at %#x: taken for %v", off, v)
		}
	}
}

func FuzzDecodeDevice(f *testing.F) {
	v := testVHD(f)
	seeds := [][]byte{unhex(f, bootHex("02000022")...), encodeDevice(bootDevice{}),
		encodeDevice(partitionDevice{ID: GUID{1}, On: fileDevice{On: partitionDevice{ID: v.Partition}, Path: `\a`}}), encodeDevice(locateDevice{Path: `\b`, Parent: bootDevice{}})}
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := decodeDevice(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error %v without its class", err)
			}
			return
		}
		if got := encodeDevice(d); !bytes.Equal(got, b) {
			t.Fatalf("%x encodes as %x", b, got)
		}
	})
}
