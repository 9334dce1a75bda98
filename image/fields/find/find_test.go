package find

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"troy/chainload/regf"
	"troy/image"
	"troy/image/fields"
	"troy/image/unattend"
	"troy/internal/acl"
	"troy/internal/testing/samples"
	"troy/internal/utf16le"
)

const account = "specialize/Microsoft-Windows-UnattendedJoin/Identification/Provisioning/AccountData"

// wanted is what the tests give a machine.
func wanted() *fields.Values {
	return &fields.Values{
		Name: "b204-pc17", Machine: []byte(`{"name": "b204-pc17", "room": "B204"}`),
		Settings: map[string]uint32{fields.ExpandOnMount: 4, fields.DisablePasswordChange: 1, fields.MaximumPasswordAge: 1000},
		Answers:  map[string]string{account: strings.Repeat("QUJD&<", 200)}, Secret: []string{account, fields.MachineFile},
	}
}

// TestRealHives: on a volume with a hive of a real Windows, two programs of others read the new
// names and numbers, the XML is one, and the volume is in order; only the named pages differ.
func TestRealHives(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		sets  []string
		dirty bool
	}{
		"regipy-win7-SYSTEM":               {[]string{"ControlSet001", "ControlSet002"}, false},
		"replayed-by-us-win10-1709-SYSTEM": {[]string{"ControlSet001"}, false},
		"regipy-win8-dirty-SYSTEM":         {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(samples.Unpack(t, dir, "hives/"+name))
			must(t, err)
			v := newVolume(t, 32*mib, 4096).put(map[string][]byte{hiveFile: b, ownFile: padded("{}", 3000), setFile: padded(answersText, 9000)})
			disk := v.bytes()
			start := time.Now()
			list, notes := find(t, disk)
			t.Logf("%d fields in %d ms, %d bytes of the manifest", len(list), time.Since(start).Milliseconds(), len(encoded(t, list, int64(len(disk))))-len(encoded(t, nil, int64(len(disk)))))
			if dirty := slices.ContainsFunc(notes, func(s string) bool { return strings.Contains(s, "not closed in order") }); dirty != c.dirty || len(notes) > 1 {
				t.Errorf("notes %q", notes)
			}
			if c.dirty {
				if len(list) != 2 || len(named(list, fields.MachineFile)) != 1 || len(named(list, fields.AnswerFile)) != 1 {
					t.Errorf("%d fields, want the two files", len(list))
				}
				return
			}
			for _, name := range []string{fields.ComputerName, fields.Hostname, fields.NVHostname, fields.ExpandOnMount, fields.DisablePasswordChange, fields.MaximumPasswordAge} {
				if n := len(named(list, name)); n != len(c.sets) {
					t.Errorf("%d fields %s, want one for each of %q", n, name, c.sets)
				}
			}
			want := wanted()
			if strings.Contains(name, "win10") {
				want.Settings[fields.Hiberboot], want.Settings[fields.StorageStart] = 0, 0
			}
			v.store(filled(t, disk, list, want))
			checkNamed(t, v, c.sets, want)
		})
	}
}

// checkNamed reads what a machine got by programs of others.
func checkNamed(t *testing.T, v *volume, sets []string, want *fields.Values) {
	t.Helper()
	hive := filepath.Join(t.TempDir(), "SYSTEM")
	must(t, os.WriteFile(hive, v.get(hiveFile), 0o644))
	for _, set := range sets {
		for _, p := range slices.Concat(nameValues, numberValues) {
			text := want.Name
			if p.name == fields.ComputerName {
				text = strings.ToUpper(text)
			}
			if n, number := want.Settings[p.name]; number {
				text = fmt.Sprint(n)
			} else if slices.Contains(numberValues, p) {
				continue
			}
			key := set + `\` + p.key
			out, err := exec.Command("hivexget", hive, `\`+key, p.value).Output()
			if err != nil && p.name == fields.StorageStart {
				continue // a driver that this Windows lacks
			}
			must(t, err)
			if got := strings.TrimSpace(string(out)); got != text {
				t.Errorf(`%s\%s: hivexget prints %q, want %q`, key, p.value, got, text)
			}
			if slices.Contains(nameValues, p) {
				path := "/" + strings.ReplaceAll(key+`\`+p.value, `\`, "/")
				list := tool(t, "reglookup", "-H", "-p", path, hive) + tool(t, "reglookup", "-H", "-p", strings.Replace(path, "/Services/", "/services/", 1), hive)
				if !strings.Contains(list, ",SZ,"+text+",") {
					t.Errorf("%s: reglookup prints %q, want %q", path, list, text)
				}
			}
		}
	}
	if own := v.get(ownFile); string(bytes.TrimRight(own, " ")) != string(want.Machine) {
		t.Errorf("machine.json is %q", own)
	}
	var file struct {
		Settings []struct {
			Component []struct {
				Name     string `xml:"ComputerName"`
				TimeZone string
				Account  string `xml:"Identification>Provisioning>AccountData"`
			} `xml:"component"`
		} `xml:"settings"`
	}
	must(t, xml.Unmarshal(v.get(setFile), &file))
	if got := file.Settings[0].Component; got[0].Name != want.Name || got[0].TimeZone != "UTC" || got[1].Account != want.Answers[account] {
		t.Errorf("the answer file has %+v", got)
	}
	if out := tool(t, "ntfsfix", "-n", v.path); !strings.Contains(out, "was processed successfully") || strings.Contains(out, "dirty") {
		t.Errorf("ntfsfix: %s", out)
	}
}

// manySets is a hive with four control sets, the last of which never starts. The name in the third
// crosses a sector, at byte cut of the file.
func manySets(t *testing.T) (b []byte, cut int64) {
	for pad := range 256 {
		v := windows()
		v[`Select\Default`], v[`Select\LastKnownGood`], v[`Select\Failed`] = 3, 2, 4
		for i, set := range []string{"ControlSet002", "ControlSet003", "ControlSet004"} {
			v.set(set, fmt.Sprintf("WIN-012345678%dX", i))
		}
		v[`ControlSet001\Control\AAA\pad`] = make([]byte, 8*(pad+1))
		b := hive(t, v)
		h, err := regf.NewReader(bytes.NewReader(b), int64(len(b)))
		must(t, err)
		p, err := h.Place(`ControlSet003\Control\ComputerName\ComputerName`, "ComputerName")
		must(t, err)
		if cut := (p.At + p.Room) &^ 511; cut > p.At+8 && cut < p.At+p.Room {
			return b, cut
		}
	}
	t.Fatal("no name crosses a sector")
	return nil, 0
}

// TestScattered: values that cross pages and clusters, in files that lie in pieces in reverse order,
// in each control set that may start; the hive is one that Marshal made.
func TestScattered(t *testing.T) {
	b, cut := manySets(t)
	for _, cluster := range []int64{512, 4096} {
		v := newVolume(t, 24*mib, cluster).put(map[string][]byte{hiveFile: nil, ownFile: nil, setFile: nil})
		v.start -= cut % 4096 // where the name crosses a sector, it crosses a page of the disk
		v.scatter(systemPath, b)
		v.scatter(machinePath, padded("{}", 8192))
		v.scatter(`\Windows\Panther\unattend.xml`, padded(answersText, 8192))
		disk := v.bytes()
		list, notes := find(t, disk)
		if len(notes) > 0 || len(list) != 2+3*9 {
			t.Fatalf("clusters of %d: %d fields, notes %q", cluster, len(list), notes)
		}
		f := named(list, fields.ComputerName)[1]
		if pieces := map[int64]int{512: 2, 4096: 1}[cluster]; len(f.At) != pieces || len(f.Pages) < 2 || f.Was != "WIN-0123456781X" || !strings.HasPrefix(f.Where, "ControlSet003") {
			t.Errorf("clusters of %d: %+v", cluster, f)
		}
		want := wanted()
		want.Settings[fields.Hiberboot], want.Settings[fields.StorageStart] = 0, 0
		v.store(filled(t, disk, list, want))
		checkNamed(t, v, []string{"ControlSet001", "ControlSet002", "ControlSet003"}, want)
		out := filepath.Join(t.TempDir(), "SYSTEM")
		must(t, os.WriteFile(out, v.get(hiveFile), 0o644))
		if failed := tool(t, "hivexget", out, `\ControlSet004\Services\Tcpip\Parameters`, "Hostname"); strings.TrimSpace(failed) != "win-0123456782x" {
			t.Errorf("the control set that failed has the name %q", failed)
		}
	}
}

// TestNoField: what cannot be overwritten where it stands has no field, and a note says why, once.
func TestNoField(t *testing.T) {
	good := map[string][]byte{hiveFile: hive(t, windows()), ownFile: padded("{}", 3000), setFile: padded(answersText, 9000)}
	with := func(path string, x any) []byte {
		v := windows()
		v[path] = x
		return hive(t, v)
	}
	all := []string{fields.ComputerName, fields.Hostname, fields.ExpandOnMount, fields.Hiberboot, fields.MachineFile, fields.AnswerFile}
	const computer = `ControlSet001\Control\ComputerName\ComputerName\ComputerName`
	compressed := func(root, name string) error {
		path := filepath.Join(root, name)
		if err := errors.Join(os.Remove(path), unix.Setxattr(filepath.Dir(path), "system.ntfs_attrib", []byte{0, 8, 0, 0x10}, 0)); err != nil {
			return err
		}
		return os.WriteFile(path, bytes.Repeat([]byte("compress me "), 1000), 0o644)
	}
	for _, c := range []struct {
		name  string
		put   map[string][]byte
		do    func(root string) error
		lacks []string
		notes []string
	}{
		{"sound", nil, nil, nil, nil},
		{"hive dirty, small file, no spaces", map[string][]byte{hiveFile: rebased(hive(t, windows()), func(b []byte) { b[4]++ }), ownFile: []byte("{}"), setFile: []byte(answersText + strings.Repeat("\n", 1000))}, nil,
			all,
			[]string{"SYSTEM was not closed in order: shut Windows down fully", "no machine-file: \\Troy\\machine.json: content lies inside the MFT record", "no spaces follow its last element"}},
		{"compressed, checksum, UTF-16", map[string][]byte{hiveFile: append([]byte("regf\x01"), hive(t, windows())[5:]...), setFile: padded("\xff\xfe<\x00", 4000)},
			func(root string) error { return compressed(root, ownFile) },
			all, []string{"base block at byte 0x1fc: checksum", "machine.json: file is compressed", "unattend.xml: it is not UTF-8"}},
		{"hard links, sparse, no XML", map[string][]byte{setFile: padded("<unattend><a>", 4000)}, func(root string) error {
			return errors.Join(os.Link(filepath.Join(root, hiveFile), filepath.Join(root, "SYSTEM")), os.Truncate(filepath.Join(root, ownFile), 60000))
		}, all, []string{`config\SYSTEM: file has more than one name`, "machine.json: file is sparse", "unattend.xml: it is no XML"}},
		{"no room, long, folder", map[string][]byte{hiveFile: with(computer, "PC"), setFile: padded(answersText, image.MaxRoom+1)}, func(root string) error {
			return errors.Join(os.Remove(filepath.Join(root, ownFile)), os.Mkdir(filepath.Join(root, ownFile), 0o755))
		}, []string{fields.ComputerName, fields.MachineFile, fields.AnswerFile}, []string{computer + ": it has room for 12 bytes, and a name needs up to 32", "machine.json: it is a directory", "has 65537 bytes, at most 65536"}},
		{"split data, too large", map[string][]byte{hiveFile: with(computer, make([]byte, 20000)), ownFile: padded("{}", image.MaxRoom+1)}, nil,
			[]string{fields.ComputerName, fields.MachineFile}, []string{"data of 20000 bytes is split", "no machine-file in \\Troy\\machine.json: 65537 bytes, at most 65536"}},
		{"types, encoding of the file", map[string][]byte{hiveFile: with(computer, 7), setFile: padded(strings.Replace(answersText, "utf-8", "windows-1252", 1), 9000)}, nil,
			[]string{fields.ComputerName, fields.AnswerFile}, []string{computer + ": it is of type 4, no text", `encoding "windows-1252"`}},
		{"claimed room, number as text", map[string][]byte{hiveFile: hive(t, func() values {
			v := windows()
			v[computer], v[`ControlSet001\Control\Session Manager\Power\HiberbootEnabled`] = strings.Repeat("x", 400), "yes"
			return v
		}())}, nil, []string{fields.ComputerName, fields.Hiberboot}, []string{"claims a room of", "HiberbootEnabled: it is of type 1 with 8 bytes, no number"}},
		{"name and setting missing", map[string][]byte{hiveFile: func() []byte {
			v := windows()
			delete(v, computer)
			delete(v, `ControlSet001\Services\FsDepends\Parameters\VirtualDiskExpandOnMount`)
			return hive(t, v)
		}()}, nil, []string{fields.ComputerName, fields.ExpandOnMount}, []string{"no computer-name: ControlSet001 of SYSTEM has no such value"}},
		{"UTF-16 with spaces", map[string][]byte{setFile: utf16le.Append([]byte{0xff, 0xfe}, string(padded(answersText, 2000)))}, nil, []string{fields.AnswerFile}, []string{"unattend.xml: it is not UTF-8"}},
		{"UTF-16 without a mark", map[string][]byte{setFile: utf16le.Append(nil, string(padded(answersText, 2000)))}, nil, []string{fields.AnswerFile}, []string{"unattend.xml: it is not UTF-8"}},
		{"UTF-8 with a mark", map[string][]byte{setFile: append([]byte("\ufeff"), padded(answersText, 9000)...)}, nil, nil, nil},
		{"files missing", nil, func(root string) error {
			return errors.Join(os.Remove(filepath.Join(root, ownFile)), os.Remove(filepath.Join(root, setFile)), os.Remove(filepath.Join(root, hiveFile)))
		}, all, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newVolume(t, 8*mib, 4096)
			v.mounted(func(root string) error {
				var err error
				for name, b := range good {
					if other, ok := c.put[name]; ok {
						b = other
					}
					err = errors.Join(err, writePrivate(filepath.Join(root, name), b))
				}
				if c.do != nil {
					err = errors.Join(err, c.do(root))
				}
				return err
			})
			list, notes := find(t, v.bytes())
			for _, name := range all {
				if got, want := len(named(list, name)) == 0, slices.Contains(c.lacks, name); got != want {
					t.Errorf("field %s is missing: %v, want %v", name, got, want)
				}
			}
			if len(notes) != len(c.notes) {
				t.Errorf("%d notes, want %d: %q", len(notes), len(c.notes), notes)
			}
			for _, want := range c.notes {
				if !slices.ContainsFunc(notes, func(s string) bool { return strings.Contains(s, want) }) {
					t.Errorf("no note says %q: %q", want, notes)
				}
			}
		})
	}
}

// TestNoWindows: a disk of which no bytes may be overwritten has no fields at all, and one note.
func TestNoWindows(t *testing.T) {
	v := newVolume(t, 8*mib, 4096).put(map[string][]byte{hiveFile: hive(t, windows()), ownFile: padded("{}", 3000)})
	sound := v.bytes()
	two := append(bytes.Clone(sound), sound[volumeAt:]...)
	copy(two[462:], two[446:462])
	two[462+10] = byte(len(sound) / 512 >> 16)
	two[462+9], two[462+8] = byte(len(sound)/512>>8), byte(len(sound)/512)
	none := bytes.Clone(sound)
	clear(none[volumeAt : volumeAt+512])
	tool(t, "ntfsfix", v.path) // it sets the dirty flag
	for want, disk := range map[string][]byte{
		"the disk has no Windows": none, "more than one Windows": two, "no usable GUID partition table": make([]byte, mib), "the NTFS volume was not dismounted": v.bytes(),
	} {
		if list, notes := find(t, disk); len(list) > 0 || len(notes) != 1 || !strings.Contains(notes[0], want) {
			t.Errorf("%s: %d fields, notes %q", want, len(list), notes)
		}
	}
	if list, notes := find(t, sound); len(list) != 10 || len(notes) > 0 {
		t.Errorf("the sound disk: %d fields, notes %q", len(list), notes)
	}
}

// TestPrivate: only a file that nobody but SYSTEM and administrators can read takes a secret, and a
// note says of an answer file with a place for one what mends it. The rest is filled all the same.
func TestPrivate(t *testing.T) {
	everyone := acl.Private(false)
	copy(everyone[len(everyone)-16:], []byte{1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x21, 2}) // Users, in place of Administrators
	v := newVolume(t, 8*mib, 4096).put(map[string][]byte{hiveFile: hive(t, windows()), ownFile: padded("{}", 3000), setFile: padded(answersText, 9000)})
	for _, c := range []struct {
		name           string
		own, set       []byte
		machine, setup bool
	}{
		{"both", acl.Private(false), acl.Private(false), true, true},
		{"machine.json for users", everyone, acl.System(), false, true},
		{"answers for users", acl.System(), everyone, true, false},
	} {
		v.mounted(func(root string) error {
			return errors.Join(hide(filepath.Join(root, ownFile), c.own), hide(filepath.Join(root, setFile), c.set))
		})
		disk := v.bytes()
		list, notes := find(t, disk)
		if own, set := named(list, fields.MachineFile)[0], named(list, fields.AnswerFile)[0]; own.Private != c.machine || set.Private != c.setup {
			t.Errorf("%s: private are %v and %v", c.name, own.Private, set.Private)
		}
		const mend = `fields: answer-file takes no secret: users of the PC can read it; run 'icacls C:\Windows\Panther\unattend.xml /inheritance:r `
		if c.setup != (len(notes) == 0) || !c.setup && (len(notes) != 1 || !strings.HasPrefix(notes[0], mend)) {
			t.Errorf("%s: notes %q", c.name, notes)
		}
		err := fields.Check(list, wanted())
		if (err == nil) != (c.machine && c.setup) || err != nil && !errors.Is(err, fields.ErrNotPrivate) {
			t.Errorf("%s: with secrets %v", c.name, err)
		}
		open := wanted()
		open.Secret = nil
		filled(t, disk, list, open)
	}
}

// TestMade: the answer file that unattend makes has places for name and account where setup looks for
// it, with room for what djoin prints.
func TestMade(t *testing.T) {
	for i, folder := range unattend.Folders {
		file := strings.ReplaceAll(folder[1:], `\`, "/") + "/" + unattend.Name
		made, err := unattend.Make(&unattend.Answers{Language: "de-DE", Join: i > 0})
		must(t, err)
		v := newVolume(t, 8*mib, 4096)
		v.mounted(func(root string) error {
			err := os.MkdirAll(filepath.Join(root, filepath.Dir(file)), 0o755)
			if i > 0 { // the first that exists counts
				err = errors.Join(err, os.MkdirAll(filepath.Join(root, "Windows/System32/Sysprep"), 0o755),
					os.WriteFile(filepath.Join(root, "Windows/System32/Sysprep", unattend.Name), []byte("<unattend/>"), 0o644))
			}
			return err
		})
		disk := v.put(map[string][]byte{file: unattend.Padded(made)}).bytes()
		list, notes := find(t, disk)
		if len(list) != 1 || list[0].Where != folder+`\`+unattend.Name || len(notes) > 0 {
			t.Fatalf("%s: %+v, notes %q", file, list, notes)
		}
		want := &fields.Values{Name: "b204-pc17"}
		if i > 0 {
			want.Answers, want.Secret = map[string]string{account: strings.Repeat("QUFB", 4000)}, []string{account}
		}
		v.store(filled(t, disk, list, want))
		var got struct {
			Name    string `xml:"settings>component>ComputerName"`
			Account string `xml:"settings>component>Identification>Provisioning>AccountData"`
		}
		must(t, xml.Unmarshal(v.get(file), &got))
		if got.Name != want.Name || got.Account != want.Answers[account] {
			t.Errorf("%s has the name %q and %d bytes of an account", file, got.Name, len(got.Account))
		}
	}
}
