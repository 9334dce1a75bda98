package bcd

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"troy/chainload/regf"
	"troy/internal/guid"
	"troy/internal/testing/hivextest"
)

// loaderText is the identifier of the entry for testVHD.
const loaderText = "ec829b89-bfd2-853f-8e8c-098dcc5bd0fa"

func marshal(t testing.TB, v VHD, esp GUID) []byte {
	t.Helper()
	s, err := New(v, esp)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// testStore is a store that boots testVHD.
func testStore(t testing.TB) []byte { return marshal(t, testVHD(t), guid.Must(espText)) }

func parse(t testing.TB, b []byte) *Store {
	t.Helper()
	s, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wantElements is the store of native boot, element by element, as documented.
// "type data": the type as hivexml names it.
func wantElements(t testing.TB) map[string]string {
	bin := func(lines ...string) string { return "binary " + string(unhex(t, lines...)) }
	const (
		loader  = "{" + loaderText + "}"
		manager = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"
		lset    = "{6efb52bf-1766-41db-a6b3-0ee5eff72bd7}"
		global  = "{7ea2e1ac-2e61-4728-aaa3-896d9d0a9f0e}"
	)
	return map[string]string{
		manager + " Type":     "int32 " + fmt.Sprint(0x10100002),
		manager + " 11000001": bin(strings.Repeat("00", 16), "06000000 00000000 48000000 00000000", "04030201 0605 0807 090a0b0c0d0e0f10", "00000000 00000000", diskHex, strings.Repeat("00", 16)),
		manager + " 12000002": `string \EFI\Microsoft\Boot\bootmgfw.efi`,
		manager + " 12000004": "string Windows Boot Manager",
		manager + " 12000005": "string en-US",
		manager + " 14000006": "string-list " + global + "|",
		manager + " 23000003": "string " + loader,
		manager + " 24000001": "string-list " + loader + "|",
		manager + " 25000004": bin("0000000000000000"),
		manager + " 26000020": bin("00"),
		loader + " Type":      "int32 " + fmt.Sprint(0x10200003),
		loader + " 11000001":  bin(bootHex("02000012")...),
		loader + " 12000002":  `string \Windows\system32\winload.efi`,
		loader + " 12000004":  "string Windows",
		loader + " 12000005":  "string en-US",
		loader + " 14000006":  "string-list " + lset + "|",
		loader + " 16000009":  bin("00"),
		loader + " 16000060":  bin("01"),
		loader + " 17000077":  bin("7500001500000000"),
		loader + " 21000001":  bin(bootHex("02000022")...),
		loader + " 22000002":  `string \Windows`,
		loader + " 25000020":  bin("0000000000000000"),
		loader + " 250000c2":  bin("0100000000000000"),
		loader + " 250000e0":  bin("0100000000000000"),
		lset + " Type":        "int32 " + fmt.Sprint(0x20200003),
		lset + " 14000006":    "string-list " + global + "|",
		global + " Type":      "int32 " + fmt.Sprint(0x20100000),
	}
}

// hivexElements is what hivex sees in a store.
func hivexElements(t testing.TB, store []byte) map[string]string {
	got := map[string]string{}
	root := hivextest.Read(t, store)
	if root.Name != "NewStoreRoot" || root.Key("Objects") == nil {
		t.Fatalf("hivex sees root %q with %d keys", root.Name, len(root.Keys))
	}
	for _, o := range root.Key("Objects").Keys {
		for _, v := range o.Key("Description").Values {
			got[o.Name+" "+v.Name] = v.Type + " " + v.Data(t)
		}
		for _, e := range o.Key("Elements").Keys {
			if len(e.Values) != 1 || e.Values[0].Name != "Element" {
				t.Errorf("element %s of %s has values %v", e.Name, o.Name, e.Values)
				continue
			}
			got[o.Name+" "+e.Name] = e.Values[0].Type + " " + e.Values[0].Data(t)
		}
	}
	return got
}

func compare(t testing.TB, got, want map[string]string) {
	t.Helper()
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if got[k] != want[k] {
			t.Errorf("%s = %q, want %q", k, got[k], want[k])
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s = %q, want none", k, got[k])
		}
	}
}

func TestNewReadByHivex(t *testing.T) {
	b := testStore(t)
	compare(t, hivexElements(t, b), wantElements(t))

	root := hivextest.Read(t, b)
	description := map[string]string{}
	for _, v := range root.Key("Description").Values {
		description[v.Name] = v.Type + " " + v.Data(t)
	}
	compare(t, description, map[string]string{"KeyName": "string BCD00000000", "System": "int32 1", "TreatAsSystem": "int32 1"})
}

func TestNewReadByUs(t *testing.T) {
	s := parse(t, testStore(t))
	const loader = "{" + loaderText + "}"
	if id, err := s.defaultLoader(); id != loader || err != nil {
		t.Errorf("defaultLoader = %q, %v", id, err)
	}
	if v, err := s.vhd(); v != testVHD(t) || err != nil {
		t.Errorf("VHD = %v, %v", v, err)
	}
	if _, err := s.text(loader, displayOrder); !errors.Is(err, ErrMissing) {
		t.Errorf("missing element: %v, want ErrMissing", err)
	}
	d, err := s.device(bootManagerID, applicationDevice)
	if want := (partitionDevice{ID: guid.Must(espText), Disk: guid.Must(diskText)}); d != device(want) || err != nil {
		t.Errorf("Device = %#v, %v, want %#v", d, err, want)
	}
}

// Without an ESP the boot manager takes what it was started from; the
// identifier of the loader is that of the file, whatever its case.
func TestNewWithoutESP(t *testing.T) {
	v := testVHD(t)
	v.Path = `\Troy\Übung.vhdx`
	b := marshal(t, v, GUID{})
	if !bytes.Equal(b, marshal(t, v, GUID{})) {
		t.Error("two stores of the same file differ")
	}
	s := parse(t, b)
	id, err := s.defaultLoader()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hivexElements(t, b)[bootManagerID+" 11000001"], "binary "+string(encodeDevice(bootDevice{})); got != want {
		t.Errorf("device of the boot manager %q, want %q", got, want)
	}
	v.Path = `\troy\übung.VHDX`
	if err := s.Names(v); err != nil {
		t.Errorf("Names with other case: %v", err)
	}
	if other, _ := parse(t, marshal(t, v, GUID{})).defaultLoader(); other != id {
		t.Errorf("the same file by another case has the loader %s, want %s", other, id)
	}
	v.Partition = GUID{1}
	if other, _ := parse(t, marshal(t, v, GUID{})).defaultLoader(); other == id {
		t.Error("another partition gives the same identifier of the loader")
	}
}

// The bytes of a store are part of what is promised: the same on all machines.
func TestNewSameBytes(t *testing.T) {
	sum := sha256.Sum256(testStore(t))
	const want = "18be868ff0c96182db83b7c0ddab2f5cc9b55aab317e3ebed8ce14aa6b0ed55a"
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Errorf("SHA-256 of the store = %s, want %s", got, want)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*VHD){
		"no disk":       func(v *VHD) { v.Disk = GUID{} },
		"no partition":  func(v *VHD) { v.Partition = GUID{} },
		"no path":       func(v *VHD) { v.Path = "" },
		"drive letter":  func(v *VHD) { v.Path = `D:\x.vhdx` },
		"slashes":       func(v *VHD) { v.Path = `\a/b` },
		"relative path": func(v *VHD) { v.Path = `boot.vhdx` },
		"NUL":           func(v *VHD) { v.Path = "\\a\x00b" },
		"long path":     func(v *VHD) { v.Path = `\` + strings.Repeat("x", 255) },
	} {
		t.Run(name, func(t *testing.T) {
			v := testVHD(t)
			change(&v)
			if _, err := New(v, GUID{}); !errors.Is(err, ErrOptions) {
				t.Errorf("New(%v): error %v, want ErrOptions", v, err)
			}
		})
	}
}

// remove takes an element away.
func remove(s *Store, id, element string) {
	k := s.hive.Root.Key("Objects").Key(id).Key("Elements")
	k.Keys = slices.DeleteFunc(k.Keys, func(e *regf.Key) bool { return e.Name == element })
}

func TestNames(t *testing.T) {
	loader := "{" + loaderText + "}"
	element := func(s *Store, id string, e elementType) *regf.Value {
		v, err := s.value(id, e)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v := testVHD(t)
	tests := []struct {
		name   string
		change func(*Store)
		ok     bool
	}{
		{"as made", func(s *Store) {}, true},
		{"timeout changed", func(s *Store) { element(s, bootManagerID, timeout).Data[0] = 30 }, true},
		{"dirty", func(s *Store) { s.hive.Dirty = true }, false},
		{"other file", func(s *Store) { s.PatchVHD(VHD{v.Disk, v.Partition, `\other.vhdx`}) }, false},
		{"other disk", func(s *Store) { s.PatchVHD(VHD{GUID{1}, v.Partition, v.Path}) }, false},
		{"other partition", func(s *Store) { s.PatchVHD(VHD{v.Disk, GUID{1}, v.Path}) }, false},
		{"osdevice alone elsewhere", func(s *Store) {
			element(s, loader, osDevice).Data = encodeDevice(VHD{v.Disk, GUID{1}, v.Path}.device(systemRootElement))
		}, false},
		{"device is a partition", func(s *Store) {
			element(s, loader, applicationDevice).Data = encodeDevice(partitionDevice{ID: v.Partition, Disk: v.Disk})
		}, false},
		{"with options", func(s *Store) {
			element(s, loader, osDevice).Data = encodeDevice(optionDevice{guid.Must(loaderText), v.device(systemRootElement)})
		}, true},
		{"options that are missing", func(s *Store) {
			element(s, loader, osDevice).Data = encodeDevice(optionDevice{GUID{1}, v.device(systemRootElement)})
		}, false},
		{"device broken", func(s *Store) { element(s, loader, applicationDevice).Data = []byte{1, 2, 3} }, false},
		{"no osdevice", func(s *Store) {
			remove(s, loader, "21000001")
		}, false},
		{"no default", func(s *Store) {
			remove(s, bootManagerID, "23000003")
		}, false},
		{"default names nothing", func(s *Store) {
			element(s, bootManagerID, defaultObject).Data = regf.EncodeSZ("{" + diskText + "}")
		}, false},
		{"default is no loader", func(s *Store) {
			element(s, bootManagerID, defaultObject).Data = regf.EncodeSZ(globalSettingsID)
		}, false},
		{"BIOS loader", func(s *Store) {
			element(s, loader, applicationPath).Data = regf.EncodeSZ(`\Windows\system32\winload.exe`)
		}, false},
		{"other system root", func(s *Store) { element(s, loader, systemRootElement).Data = regf.EncodeSZ(`\W`) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := parse(t, testStore(t))
			tt.change(s)
			err := s.Names(v)
			if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrOtherTarget) {
				t.Errorf("Names = %v, want ok %v", err, tt.ok)
			}
		})
	}
}

// hivex adds what an admin might: the store is still read, still ours, and a
// patch keeps the additions.
func TestEditedByHivex(t *testing.T) {
	loader := "{" + loaderText + "}"
	edited := hivextest.Edit(t, testStore(t),
		`cd \Objects\`+loader+`\Elements`, "add 22000011", "cd 22000011", "setval 1", "Element", "string:hal.dll",
		`cd \Objects\`+loader+`\Elements\12000004`, "setval 1", "Element", `string:A description longer than the one before it was`,
		`cd \Objects\`+bootManagerID+`\Elements\25000004`, "setval 1", "Element", "hex:3:1e,00,00,00,00,00,00,00")
	s := parse(t, edited)
	if err := s.Names(testVHD(t)); err != nil {
		t.Fatalf("Names after the edit: %v", err)
	}
	if v, err := s.value(bootManagerID, timeout); err != nil || !bytes.Equal(v.Data, []byte{30, 7: 0}) {
		t.Errorf("timeout = %v, %v, want 30", v, err)
	}
	v := testVHD(t)
	v.Path = `\elsewhere\a much longer path than before.vhdx`
	if err := s.PatchVHD(v); err != nil {
		t.Fatal(err)
	}
	patched, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	want := hivexElements(t, edited)
	want[loader+" 11000001"] = "binary " + string(encodeDevice(v.device(applicationPath)))
	want[loader+" 21000001"] = "binary " + string(encodeDevice(v.device(systemRootElement)))
	compare(t, hivexElements(t, patched), want)
	if got := want[loader+" 22000011"]; got != "string hal.dll" {
		t.Errorf("the element that hivex added reads %q", got)
	}
	if err := parse(t, patched).Names(v); err != nil {
		t.Errorf("Names after the patch: %v", err)
	}
}

func TestParseNoStore(t *testing.T) {
	h := regf.Hive{Root: &regf.Key{Name: "x"}}
	b, err := h.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(b); !errors.Is(err, ErrCorrupt) {
		t.Errorf("hive without objects: %v, want ErrCorrupt", err)
	}
	if _, err := Parse([]byte("regf")); !errors.Is(err, regf.ErrCorrupt) {
		t.Errorf("four bytes: %v, want regf.ErrCorrupt", err)
	}
}

// Whatever the elements hold, a store answers, and a patch either fails or
// makes the two devices right.
func FuzzStore(f *testing.F) {
	good := parse(f, testStore(f))
	loader := "{" + loaderText + "}"
	data := func(id string, e elementType) []byte {
		v, err := good.value(id, e)
		if err != nil {
			f.Fatal(err)
		}
		return v.Data
	}
	f.Add(data(loader, applicationDevice), data(loader, osDevice), data(bootManagerID, defaultObject), data(loader, applicationPath))
	f.Add([]byte{}, encodeDevice(bootDevice{}), regf.EncodeSZ(globalSettingsID), []byte{1})
	want := testVHD(f)
	f.Fuzz(func(t *testing.T, device, osdevice, def, path []byte) {
		s, err := New(testVHD(t), GUID{})
		if err != nil {
			t.Fatal(err)
		}
		l := elements{key: s.hive.Root.Key("Objects").Key(loader).Key("Elements")}
		l.set(applicationDevice, regf.Binary, device)
		l.set(osDevice, regf.Binary, osdevice)
		l.set(applicationPath, regf.SZ, path)
		m := elements{key: s.hive.Root.Key("Objects").Key(bootManagerID).Key("Elements")}
		m.set(defaultObject, regf.SZ, def)
		if err := s.Names(want); err != nil && !errors.Is(err, ErrOtherTarget) {
			t.Fatalf("error %v without its class", err)
		}
		if s.PatchVHD(want) != nil {
			return
		}
		if v, err := s.vhd(); v != want || err != nil {
			t.Fatalf("patched store boots %v, %v", v, err)
		}
		if _, err := s.Marshal(); err != nil {
			t.Fatal(err)
		}
	})
}
