package selfboot

import (
	"bytes"
	"crypto/sha256"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/chainload"
	"troy/chainload/efiboot"
	"troy/chainload/release"
	"troy/internal/guid"
	"troy/internal/testing/efitest"
	"troy/internal/testing/grubtest"
)

// machine is a folder in place of an ESP with files of others, and firmware
// whose entry 0 is Windows and entry 1 a stick.
type machine struct {
	*Options
	fw     *efitest.Firmware
	others map[string]string // what was there and has to stay
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{fw: efitest.New()}
	m.Options = &Options{ESPDir: t.TempDir(), ESP: chainload.Partition{Number: 1, StartLBA: 2048, Sectors: 1 << 20, GUID: guid.GUID{7}}, Variables: m.fw, cmdline: "quiet"}
	for name, content := range map[string]string{
		"efi/Microsoft/Boot/bootmgfw.efi": "MZ windows", "efi/BOOT/BOOTX64.EFI": "MZ removable", "efi/debian/grub.cfg": "theirs", "note.txt": "hello",
	} {
		path := filepath.Join(m.ESPDir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(content), 0o600))
	}
	m.entry(t, 0, `\EFI\Microsoft\Boot\bootmgfw.efi`)
	m.entry(t, 1, `\EFI\BOOT\BOOTX64.EFI`)
	m.fw.Vars["BootOrder"] = efitest.Words(0, 1)
	m.fw.Vars["BootCurrent"] = efitest.Words(1)
	m.others = m.files(t)
	return m
}

func (m *machine) entry(t testing.TB, n uint16, path string) {
	t.Helper()
	hd := efiboot.HardDrive(m.ESP).Node()
	b, err := (&efiboot.LoadOption{Attributes: efiboot.Active, Description: path, Path: []efiboot.Node{hd, efiboot.FilePath(path)}}).Marshal()
	must(t, err)
	m.fw.Vars[efiboot.Name(n)] = b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// files are all files of the ESP, by name.
func (m *machine) files(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(m.ESPDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(m.ESPDir, path)
		all[name] = string(b)
		return err
	}))
	return all
}

// othersUntouched fails the test when anything outside the agent's directory changed.
func (m *machine) othersUntouched(t testing.TB) {
	t.Helper()
	left := m.files(t)
	maps.DeleteFunc(left, func(name, _ string) bool { return strings.HasPrefix(strings.ToLower(name), "efi/troy/") })
	if !maps.Equal(left, m.others) {
		t.Errorf("files of others changed: %q", slices.Sorted(maps.Keys(left)))
	}
}

// boot starts the machine as firmware and GRUB do: BootNext once, else the first
// entry whose file is there. It returns the path started.
func (m *machine) boot(t testing.TB) string {
	t.Helper()
	order, err := efiboot.BootOrder(m.fw)
	must(t, err)
	if n, ok := efiboot.BootNext(m.fw); ok {
		order = append([]uint16{n}, order...)
		delete(m.fw.Vars, "BootNext")
	}
	for _, n := range order {
		o, err := efiboot.ParseLoadOption(m.fw.Vars[efiboot.Name(n)])
		if err != nil {
			continue
		}
		path, _ := o.Path[1].FilePath()
		file := m.find(strings.ReplaceAll(strings.Trim(path, `\`), `\`, "/"))
		if file == "" {
			continue
		}
		m.fw.Vars["BootCurrent"] = efitest.Words(n)
		m.cmdline = "quiet"
		if strings.HasSuffix(path, release.Shim) {
			return m.grub(t, file, path)
		}
		return path
	}
	t.Fatal("nothing to boot")
	return ""
}

// fallback starts the machine as firmware does that has no boot entries.
func (m *machine) fallback(t testing.TB) string {
	t.Helper()
	clear(m.fw.Vars)
	m.cmdline = "quiet"
	config, err := os.ReadFile(m.find("EFI/BOOT/" + configName))
	start, startErr := os.ReadFile(m.find("EFI/BOOT/BOOTX64.EFI"))
	must(t, startErr)
	if err != nil || string(start) == m.others["efi/BOOT/BOOTX64.EFI"] {
		return `\EFI\BOOT\BOOTX64.EFI`
	}
	_, list, _ := strings.Cut(string(config), "for copy in ")
	list, _, _ = strings.Cut(list, "; do")
	for _, c := range strings.Fields(list) {
		if m.find("EFI/Troy/"+c+"/manifest.json") != "" {
			return m.grub(t, m.find("EFI/Troy/"+c+"/"+release.Shim), `\EFI\Troy\`+c+`\`+release.Shim)
		}
	}
	return "windows"
}

// grub is what GRUB does with the configuration of a copy: see package grubtest.
func (m *machine) grub(t testing.TB, shim, path string) string {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(filepath.Dir(shim), configName))
	must(t, err)
	c := string(filepath.Base(filepath.Dir(shim)))
	env := m.find("EFI/Troy/grubenv")
	block, err := os.ReadFile(env)
	must(t, err)
	starts, block := grubtest.Start{Copy: c}.Boot(block)
	must(t, os.WriteFile(env, block, 0o600))
	switch starts {
	case grubtest.Windows, grubtest.Direct:
		return starts
	case c:
	default:
		path = `\EFI\Troy\` + starts + `\` + release.Shim
		return m.grub(t, m.find("EFI/Troy/"+starts+"/"+release.Shim), path)
	}
	if !strings.Contains(string(config), " troy.copy="+c+"; then") {
		t.Errorf("configuration of copy %s:\n%s", c, config)
	}
	m.cmdline = "quiet troy.copy=" + c
	return path
}

// find finds a file without regard to case.
func (m *machine) find(name string) string {
	found := ""
	filepath.WalkDir(m.ESPDir, func(path string, _ fs.DirEntry, _ error) error {
		if rel, _ := filepath.Rel(m.ESPDir, path); strings.EqualFold(rel, name) {
			found = path
		}
		return nil
	})
	return found
}

// newRelease is a release with random content of the sizes of real ones, scaled down.
func newRelease(version string) *Release {
	seed := [32]byte{}
	copy(seed[:], version)
	rng := rand.NewChaCha8(seed)
	file := func(n int) []byte {
		b := make([]byte, n)
		rng.Read(b)
		return b
	}
	r := inMemory(version, map[string][]byte{
		release.Shim: file(10_000), release.Kernel: file(120_000), release.Initrd: file(65_536), release.Site: file(2_000),
		release.GRUB: []byte("\x00source $cmdpath/grub.cfg" + version),
	})
	r.Cmdline = "console=ttyS0 troy.server=https://[fd00::1]:8443/?a=$b&c#d troy.copy=b BOOT_IMAGE=/vmlinuz"
	return r
}

// inMemory is a release of files that lie in memory.
func inMemory(version string, files map[string][]byte) *Release {
	r := &Release{Release: release.Release{Version: version}, Open: func(name string) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files[name])), nil
	}}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		r.Files = append(r.Files, release.File{Name: name, Size: int64(len(files[name])), SHA256: sha256.Sum256(files[name])})
	}
	return r
}
