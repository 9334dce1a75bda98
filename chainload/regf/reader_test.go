package regf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"troy/internal/testing/samples"
)

// TestReaderSamples reads values of the hives of real Windows, also ones that lie in several cells,
// and compares them with what hivexget prints.
func TestReaderSamples(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"regipy-win10-1709-dirty-SYSTEM", "regipy-win7-SYSTEM"} {
		path := samples.Unpack(t, dir, "hives/"+name)
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		h, err := NewReader(f, st.Size())
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.Contains(name, "dirty"); h.Dirty() != want {
			t.Errorf("%s: dirty %v, want %v", name, h.Dirty(), want)
		}
		for _, at := range []struct{ key, value string }{
			{`Select`, "Current"}, {`Setup`, "SystemSetupInProgress"}, {`setup`, "oobeinprogress"},
			{`ControlSet001\Control\ProductOptions`, "ProductPolicy"}, {`ControlSet001\Control\ComputerName\ComputerName`, "ComputerName"},
			{`ControlSet001\Services\Tcpip\Parameters`, "DataBasePath"}, {`ControlSet001\Control\Session Manager\AppCompatCache`, "AppCompatCache"},
		} {
			v, err := h.Value(at.key, at.value)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			want, err := exec.Command("hivexget", path, `\`+at.key, at.value).Output()
			if err != nil {
				t.Fatalf("hivexget: %v", err)
			}
			if p, err := h.Place(at.key, at.value); len(v.Data) <= bigData && err != nil {
				t.Errorf("%s: no place: %v", name, err)
			} else if err == nil {
				file, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				placed(t, file, p)
			} else if !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s: no place for data that is split: %v", name, err)
			}
			if !sameValue(t, v, want) {
				t.Errorf(`%s: %s\%s is %d bytes of type %d, hivexget prints %.80q`, name, at.key, at.value, len(v.Data), v.Type, want)
			}
		}
		sameKeys(t, h, path, `Setup`)
		sameKeys(t, h, path, `ControlSet001\Services`)
		if strings.Contains(name, "win10") {
			sameKeys(t, h, path, `DriverDatabase\DeviceIds\PCI`)
		}
		for _, at := range [][2]string{{"Setup", "none"}, {"None", "x"}, {`Setup\None`, "x"}} {
			if v, err := h.Value(at[0], at[1]); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %q: %+v, %v", name, at, v, err)
			}
		}
	}
}

// sameValue compares a value with what hivexget prints of it: text, a number, or raw bytes.
func sameValue(t *testing.T, v *Value, printed []byte) bool {
	t.Helper()
	switch v.Type {
	case SZ, 2:
		text, err := v.Text()
		return err == nil && text == strings.TrimSpace(string(printed))
	case DWORD:
		return fmt.Sprintf("%d", uint32(v.Data[0])|uint32(v.Data[1])<<8|uint32(v.Data[2])<<16|uint32(v.Data[3])<<24) == strings.TrimSpace(string(printed))
	}
	return bytes.Equal(v.Data, printed)
}

// sameKeys compares the subkeys of a key with those that reglookup prints.
func sameKeys(t *testing.T, h *Reader, path, key string) {
	t.Helper()
	got, err := h.Keys(key)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, key := range []string{key, strings.Replace(key, `\S`, `\s`, 1)} { // reglookup minds the case
		if len(want) > 0 {
			break
		}
		at := "/" + strings.ReplaceAll(key, `\`, "/")
		out, err := exec.Command("reglookup", "-H", "-t", "KEY", "-p", at, path).Output()
		if err != nil {
			t.Fatalf("reglookup: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			printed, _, _ := strings.Cut(line, ",")
			if name, ok := strings.CutPrefix(printed, at+"/"); ok && !strings.Contains(name, "/") {
				want = append(want, name)
			}
		}
	}
	if len(want) < 5 || !slices.Equal(got, want) {
		t.Errorf("%s: %d subkeys, reglookup prints %d", key, len(got), len(want))
	}
	if _, err := h.Keys(key + `\none`); !errors.Is(err, ErrNotFound) {
		t.Errorf("subkeys of no key: %v", err)
	}
}

// TestReaderTree finds each value of a tree that Marshal wrote.
func TestReaderTree(t *testing.T) {
	root := &Key{Name: "ROOT", Flags: flagRoot}
	for i := range 40 {
		k := root.Make(fmt.Sprintf("Key %d", i)).Make("Ünter")
		k.Set("", SZ, EncodeSZ("default"))
		k.Set("number", DWORD, EncodeDWORD(uint32(i)))
		k.Set("long", Binary, bytes.Repeat([]byte{byte(i)}, 9000))
	}
	b, err := (&Hive{Root: root}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, top := range root.Keys {
		k := top.Keys[0]
		for _, want := range k.Values {
			v, err := h.Value(strings.ToUpper(top.Name)+`\ünter`, want.Name)
			if err != nil || v.Type != want.Type || !bytes.Equal(v.Data, want.Data) {
				t.Fatalf(`%s\%s\%s: %+v, %v`, top.Name, k.Name, want.Name, v, err)
			}
			p, err := h.Place(strings.ToUpper(top.Name)+`\ünter`, want.Name)
			if err != nil || !bytes.Equal(p.Data, want.Data) {
				t.Fatalf(`%s\%s\%s: %+v, %v`, top.Name, k.Name, want.Name, p, err)
			}
			placed(t, b, p)
		}
	}
}

// placed fails unless the bytes of a hive at a place are those of the value, and the number where its
// length is kept is that length.
func placed(t *testing.T, file []byte, p *Place) {
	t.Helper()
	if int64(len(p.Data)) > p.Room || p.At < 0 || p.At+p.Room > int64(len(file)) || p.SizeAt < 0 || p.SizeAt+4 > int64(len(file)) {
		t.Fatalf("%d bytes at %d+%d, length at %d, of a hive of %d", len(p.Data), p.At, p.Room, p.SizeAt, len(file))
	}
	if !bytes.Equal(file[p.At:p.At+int64(len(p.Data))], p.Data) {
		t.Errorf("%q: other bytes stand at %#x", p.Name, p.At)
	}
	if n := binary.LittleEndian.Uint32(file[p.SizeAt:]); p.SizeAt > 0 && int(n) != len(p.Data) {
		t.Errorf("%q: %d stands for the length, want %d", p.Name, n, len(p.Data))
	}
}

// TestPlaceOverlap: where the cells of a bin do not lead to a cell, it is not written: it could be
// the inside of another one.
func TestPlaceOverlap(t *testing.T) {
	root := &Key{Name: "ROOT", Flags: flagRoot}
	k := root.Make("Setup")
	k.Set("other", Binary, append(make([]byte, 60), 0xc0, 0xff, 0xff, 0xff)) // a cell of 64 bytes, it claims
	k.Set("name", SZ, EncodeSZ("PC-1"))
	b, err := (&Hive{Root: root}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	place := func() (*Place, *Place, error) {
		h, err := NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		other, err := h.Place("Setup", "other")
		if err != nil {
			t.Fatal(err)
		}
		name, err := h.Place("setup", "NAME")
		return other, name, err
	}
	other, name, err := place()
	if err != nil {
		t.Fatal(err)
	}
	placed(t, b, name)
	inside := other.At + 60 - baseSize
	binary.LittleEndian.PutUint32(b[name.SizeAt+4:], uint32(inside))
	if _, p, err := place(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("inside another cell: %+v, %v", p, err)
	}
}

// FuzzReader: no hive makes it panic, loop, or give more than it holds.
func FuzzReader(f *testing.F) {
	root := &Key{Name: "ROOT", Flags: flagRoot}
	for _, name := range []string{"Other", "Setup", "Xyz"} {
		root.Make(name).Set("OOBEInProgress", DWORD, EncodeDWORD(1))
		root.Make(name).Make("Status")
		root.Make(name).Set("long", Binary, make([]byte, 9000))
	}
	b, err := (&Hive{Root: root}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, uint32(0), byte(0))
	for at := range 24 {
		f.Add(b, uint32(baseSize+binHead+40*at), byte(0xff))
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint32, flip byte) {
		b = bytes.Clone(b)
		if int64(at) < int64(len(b)) {
			b[at] ^= flip
		}
		if len(b) >= 512 {
			sum := checksum(b)
			for i := range 4 {
				b[508+i] = byte(sum >> (8 * i))
			}
		}
		h, err := NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if names, err := h.Keys("Setup"); err == nil && len(names)*minKey > len(b) {
			t.Fatalf("%d keys in a hive of %d", len(names), len(b))
		}
		for _, name := range []string{"OOBEInProgress", "long"} {
			if v, err := h.Value("Setup", name); err == nil && len(v.Data) > len(b) {
				t.Fatalf("%d bytes of a hive of %d", len(v.Data), len(b))
			}
			if p, err := h.Place("Setup", name); err == nil {
				placed(t, b, p)
			}
		}
	})
}
