package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/chainload/regf"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/fields"
	"troy/internal/block"
	"troy/internal/testing/needs"
	"troy/internal/utf16le"
)

// systemHive is a registry with names and one setting.
func systemHive(t *testing.T, name string, sequence uint32) []byte {
	t.Helper()
	root := &regf.Key{Name: "ROOT", Flags: 4}
	set := root.Make("ControlSet001")
	set.Make("Control").Make("ComputerName").Make("ComputerName").Set("ComputerName", regf.SZ, regf.EncodeSZ(name))
	for _, value := range []string{"Hostname", "NV Hostname"} {
		set.Make("Services").Make("Tcpip").Make("Parameters").Set(value, regf.SZ, regf.EncodeSZ(name))
	}
	set.Make("Services").Make("Netlogon").Make("Parameters").Set("DisablePasswordChange", regf.DWORD, regf.EncodeDWORD(0))
	b, err := (&regf.Hive{Root: root, Sequence: sequence}).Marshal()
	must(t, err)
	return b
}

// named makes the disk of a PC with version 2, gives it a name, and takes that away again. What no
// Windows takes for a name, or a version has no place for, leaves the disk as it is.
func named(t *testing.T, store string) {
	t.Helper()
	device := filepath.Join(t.TempDir(), "pc.img")
	troyDisk(t, exitOK, "prepare", "--store", store, "--image", "pc", "--room", "8M", "--esp", "40M", "--create", "1G", device)
	refuseDisk(t, device, []string{"name", "--store", store, device, "sixteen-letters-"}, "15")
	m, before := wantJSON[image.Manifest](t, exitOK, "image", "show", "pc", "2"), shown(t, device)
	for _, name := range []string{"b204-pc17", "b204-pc18"} {
		if out := troyDisk(t, exitOK, "name", "--store", store, device, name); !strings.Contains(out, "named "+name) {
			t.Errorf("disk name prints %s", out)
		}
		now := shown(t, device)
		checkFieldPages(t, before, now, m.Fields)
		for _, f := range m.Fields {
			want := name
			if f.Name == fields.ComputerName {
				want = strings.ToUpper(name)
			}
			if b := now[f.At[0].Offset:]; f.Kind == image.FieldText && !bytes.HasPrefix(b, utf16le.Append(nil, want+"\x00")) {
				t.Errorf("%s holds %q, want %q", f.Name, b[:f.At[0].Length], want)
			}
		}
	}
	troyDisk(t, exitOK, "reset", device)
	if !bytes.Equal(shown(t, device), before) {
		t.Error("after the reset the disk is not as published")
	}
}

// shown is all that Windows would see of the disk of a PC.
func shown(t *testing.T, device string) []byte {
	t.Helper()
	disk, err := pcdisk.Look(device, &blockdev.Options{ReadOnly: true})
	must(t, err)
	defer disk.Close()
	files, err := disk.MapFiles()
	must(t, err)
	chain, err := pcdisk.Chain(files)
	must(t, err)
	b := make([]byte, chain.Size())
	must(t, block.ReadFull(chain, b, 0))
	return b
}

// TestImageFields: what is published names the places of what is a machine's own, in the words of
// people and in JSON; what the store gives of them is what the manifest says, and can be filled. A
// later version has its own places. Without a Windows, or with one that was not shut down, there
// are none, and that is said once.
func TestImageFields(t *testing.T) {
	needs.Root(t)
	w := newWindowsDisk(t, seeded(t))
	w.write(map[string][]byte{"Windows/System32/config/SYSTEM": systemHive(t, "WIN-0123456789A", 3), "Troy/machine.json": append([]byte("{}"), bytes.Repeat([]byte(" "), 2046)...)})
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	t.Setenv("TROY_STORE", store)
	wantTroy(t, exitOK, "init", store)
	file := func(name string) string {
		p := filepath.Join(dir, name)
		must(t, os.WriteFile(p, w.disk(), 0o644))
		return p
	}
	all := []string{fields.ComputerName, fields.Hostname, fields.NVHostname, fields.DisablePasswordChange, fields.MachineFile}
	out := wantTroy(t, exitOK, "image", "import", "--force-unbootable", "pc", file("v1.img")).out
	if !strings.Contains(out, "a PC gets its own: "+strings.Join(all, ", ")+"\n") || strings.Contains(out, "fields: ") {
		t.Errorf("import prints %s", out)
	}
	out = wantTroy(t, exitOK, "image", "show", "pc").out
	for _, want := range []string{`field:           computer-name, "WIN-0123456789A", at byte `, `: ControlSet001\Control\ComputerName\ComputerName\ComputerName`, `disable-password-change, "0", at byte`, `machine-file, room for 2.0 kB, no secrets: users can read it, at byte`} {
		if !strings.Contains(out, want) {
			t.Errorf("show prints %s, want %q in it", out, want)
		}
	}

	w.write(map[string][]byte{"Windows/new.dll": bytes.Repeat([]byte("new"), 100000), "Windows/System32/config/SYSTEM": systemHive(t, "WIN-ABCDEFGHIJK", 4)})
	wantTroy(t, exitOK, "image", "add", "--force-unbootable", "pc", file("v2.img"))
	s, err := image.OpenStore(store)
	must(t, err)
	for number, name := range map[string]string{"1": "WIN-0123456789A", "2": "WIN-ABCDEFGHIJK"} {
		m := wantJSON[image.Manifest](t, exitOK, "image", "show", "pc", number)
		var got []string
		for _, f := range m.Fields {
			if got = append(got, f.Name); f.Kind == image.FieldText && f.Was != name {
				t.Errorf("version %s: %s was %q, want %q", number, f.Name, f.Was, name)
			}
			if !slices.Contains(m.Needs, f.Kind) {
				t.Errorf("version %s needs %q, not %s", number, m.Needs, f.Kind)
			}
		}
		v, err := image.OpenVersion(t.Context(), s, "pc", m.Version)
		must(t, err)
		edits, err := fields.Fill(m.Fields, &fields.Values{Name: "b204-pc17", Machine: []byte("{}\n")}, v)
		if err != nil || len(edits) != 7 || !slices.Equal(got, all) {
			t.Errorf("version %s: fields %q, %d edits, %v", number, got, len(edits), err)
		}
	}

	named(t, store)

	hive := systemHive(t, "WIN", 5)
	hive[4]++ // the first of the two sequence numbers
	hive[508]++
	w.write(map[string][]byte{"Windows/System32/config/SYSTEM": hive})
	tool(t, "", "ntfsfix", w.path)
	empty := filepath.Join(dir, "empty.vhdx")
	wantVHDX(t, exitOK, "create", "--size", "16M", empty)
	for name, want := range map[string]string{file("unclean.img"): "the NTFS volume was not dismounted", empty: "no usable GUID partition table"} {
		image := strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
		out := wantTroy(t, exitOK, "image", "import", "--force-unbootable", image, name).out
		want = "fields: no PC gets a name or settings: " + want
		if strings.Count(out, "fields: ") != 1 || !strings.Contains(out, want) || strings.Contains(out, "gets its own") {
			t.Errorf("%s: %s, want %q once", name, out, want)
		}
	}
}
