package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"troy/diskwriter/blockdev"
	"troy/image"
	"troy/image/fields"
	"troy/image/unattend"
	"troy/internal/acl"
	"troy/internal/cli"
	"troy/internal/testing/needs"
	"troy/internal/testing/samples"
)

const (
	hivePath    = "Windows/System32/config/SYSTEM"
	machinePath = "Troy/machine.json"
	answersPath = "Windows/Panther/unattend.xml"
	accountSlot = "specialize/Microsoft-Windows-UnattendedJoin/Identification/Provisioning/AccountData"
)

// TestNamedRealHive: a PC's disk with the registry of a real Windows gets name, settings, machine.json
// and answers. Two programs of others read the new names, the XML is one, the volume is in order, and
// only pages of the fields differ; after a reset the disk is byte for byte as published.
func TestNamedRealHive(t *testing.T) {
	needs.Root(t)
	registry, err := os.ReadFile(samples.Unpack(t, t.TempDir(), "hives/replayed-by-us-win10-1709-SYSTEM"))
	must(t, err)
	store, device := publishReal(t, registry), filepath.Join(t.TempDir(), "pc.img")
	troyDisk(t, exitOK, "prepare", "--store", store, "--image", "pc", "--room", "8M", "--esp", "40M", "--create", "1G", device)
	before := shown(t, device)
	v := &fields.Values{
		Name: "b204-pc17", Machine: []byte(`{"name": "b204-pc17", "room": "B204"}`), Settings: map[string]uint32{fields.DisablePasswordChange: 1},
		Answers: map[string]string{accountSlot: strings.Repeat("QUFB", 600)}, Secret: []string{accountSlot},
	}
	give(t, store, device, v)
	now := shown(t, device)
	checkFieldPages(t, before, now, wantJSON[image.Manifest](t, exitOK, "image", "show", "pc").Fields)
	checkReal(t, now, v)
	troyDisk(t, exitOK, "reset", device)
	if !bytes.Equal(shown(t, device), before) {
		t.Error("after the reset the disk is not as published")
	}
}

// publishReal publishes a disk with that registry, and files that users cannot read.
func publishReal(t *testing.T, registry []byte) (store string) {
	t.Helper()
	w := newWindowsDisk(t, seeded(t))
	made, err := unattend.Make(&unattend.Answers{Join: true})
	must(t, err)
	w.write(map[string][]byte{hivePath: registry, machinePath: bytes.Repeat([]byte(" "), 4096), answersPath: unattend.Padded(made)})
	w.mounted(func(root string) {
		for _, name := range []string{machinePath, answersPath} {
			must(t, unix.Setxattr(filepath.Join(root, name), "system.ntfs_acl", acl.Private(false), 0))
		}
	})
	dir := t.TempDir()
	store = filepath.Join(dir, "store")
	t.Setenv("TROY_STORE", store)
	wantTroy(t, exitOK, "init", store)
	disk := filepath.Join(dir, "disk.img")
	must(t, os.WriteFile(disk, w.disk(), 0o644))
	out := wantTroy(t, exitOK, "image", "import", "--force-unbootable", "pc", disk).out
	if strings.Contains(out, "fields: ") {
		t.Errorf("import prints %s", out)
	}
	if out := wantTroy(t, exitOK, "image", "show", "pc").out; strings.Count(out, ", private, at byte") != 2 {
		t.Errorf("show prints %s", out)
	}
	return store
}

// give gives a PC's disk an identity, as troy disk name gives it a name.
func give(t *testing.T, store, device string, v *fields.Values) {
	t.Helper()
	d := &diskStore{call: newCall(&cli.Streams{Out: io.Discard, Err: io.Discard}), dir: store}
	var err error
	d.store, err = d.openStore(t.Context())
	must(t, err)
	target, m, err := openMachine(d.call, device, &blockdev.Options{Exclusive: true})
	must(t, err)
	must(t, errors.Join(m.Recover(t.Context()), d.give(t.Context(), m, v), target.Close()))
}

// checkFieldPages: pages differ, and no other ones than those of the fields.
func checkFieldPages(t *testing.T, before, now []byte, list []image.Field) {
	t.Helper()
	pages := map[int64]bool{}
	for _, f := range list {
		for _, at := range f.PageOffsets() {
			pages[at] = true
		}
	}
	changed := 0
	for at := int64(0); at < int64(len(now)); at += image.PageSize {
		end := min(at+image.PageSize, int64(len(now)))
		if bytes.Equal(now[at:end], before[at:end]) {
			continue
		}
		if changed++; !pages[at] {
			t.Errorf("the page at byte %d is no field's and differs", at)
		}
	}
	if changed == 0 {
		t.Error("nothing differs")
	}
	t.Logf("%d pages of %d of the fields differ", changed, len(pages))
}

// checkReal reads what a PC got by programs of others.
func checkReal(t *testing.T, disk []byte, v *fields.Values) {
	t.Helper()
	dir := t.TempDir()
	volume, hive := filepath.Join(dir, "volume"), filepath.Join(dir, "SYSTEM")
	must(t, os.WriteFile(volume, disk[windowsVolumeAt:][:windowsVolumeLen], 0o644))
	must(t, os.WriteFile(hive, tool(t, "", "ntfscat", volume, hivePath), 0o644))
	const set = `ControlSet001\`
	for path, want := range map[string]string{
		`Control\ComputerName\ComputerName\ComputerName`: strings.ToUpper(v.Name),
		`Services\Tcpip\Parameters\Hostname`:             v.Name, `Services\Tcpip\Parameters\NV Hostname`: v.Name,
	} {
		checkValue(t, hive, set+path, want)
	}
	if got := tool(t, "", "hivexget", hive, `\`+set+`Services\Netlogon\Parameters`, "DisablePasswordChange"); strings.TrimSpace(string(got)) != "1" {
		t.Errorf("DisablePasswordChange is %s", got)
	}
	if own := tool(t, "", "ntfscat", volume, machinePath); len(own) != 4096 || string(bytes.TrimRight(own, " ")) != string(v.Machine) {
		t.Errorf("machine.json is %q", bytes.TrimRight(own, " "))
	}
	var file struct {
		Name    string `xml:"settings>component>ComputerName"`
		Account string `xml:"settings>component>Identification>Provisioning>AccountData"`
	}
	must(t, xml.Unmarshal(tool(t, "", "ntfscat", volume, answersPath), &file))
	if file.Name != v.Name || file.Account != v.Answers[accountSlot] {
		t.Errorf("the answer file has %+v", file)
	}
	if out := string(tool(t, "", "ntfsfix", "-n", volume)); !strings.Contains(out, "was processed successfully") || strings.Contains(out, "dirty") {
		t.Errorf("ntfsfix: %s", out)
	}
}

// checkValue reads a text of a registry with hivexget and reglookup.
func checkValue(t *testing.T, hive, path, want string) {
	t.Helper()
	at := strings.LastIndex(path, `\`)
	if got := strings.TrimSpace(string(tool(t, "", "hivexget", hive, `\`+path[:at], path[at+1:]))); got != want {
		t.Errorf("%s: hivexget prints %q, want %q", path, got, want)
	}
	if out := string(tool(t, "", "reglookup", "-H", "-p", "/"+strings.ReplaceAll(path, `\`, "/"), hive)); !strings.Contains(out, ",SZ,"+want+",") {
		t.Errorf("%s: reglookup prints %q, want %q", path, out, want)
	}
}
