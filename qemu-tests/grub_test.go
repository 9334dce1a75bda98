package qemutests

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto/sha256"

	"troy/chainload"
	"troy/chainload/release"
	"troy/chainload/selfboot"
	"troy/internal/guid"
	"troy/internal/testing/efitest"
	"troy/internal/testing/testlab"
	"troy/internal/testing/vmlab"
	"troy/trial/vm"
)

// noKernel is what GRUB says where it would start the agent: in this test there is no kernel.
const noKernel = "Troy: copy a cannot be started"

// What GRUB makes of its environment block, and of what switched the PC on. Windows is a signed GRUB
// that says so; there is no Linux.
func TestGRUBStarts(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; package chainload tries the same with a model of GRUB")
		return
	}
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("Secure Boot %v", secure), func(t *testing.T) {
			m := newLoaderMachine(t, secure)
			for _, c := range []struct {
				block  string
				change func(*vm.Config)
				key    string
				starts string // the agent, if empty
				after  string
			}{
				{"next_entry=\ndirect=y\nmade=0\n", nil, "", directScreen, "next_entry=\ndirect=y\nmade=1\n"},
				{"made=3\ndirect=y\n", nil, "", directScreen, "made=4\ndirect=y\n"},
				{"made=4\ndirect=y\n", nil, "", "", "made=4\ndirect=y\n"},
				{"made=0\ndirect=n\n", nil, "", "", "made=0\ndirect=n\n"},
				{"direct=y\n", nil, "", "", "direct=y\n"},
				{"made=0\ndirect=y\n", nil, "esc", "", "made=0\ndirect=y\n"},
				{"made=0\ndirect=y\n", func(c *vm.Config) { wokenByLAN(t, c) }, "", "", "made=0\ndirect=y\n"},
				{"made=0\ndirect=y\nnext_entry=windows\n", nil, "", windowsStarted, "made=0\ndirect=y\nnext_entry=\n"},
			} {
				m.starts(t, c.block, c.change, c.key, c.starts, c.after)
			}
		})
	}
}

// loaderMachine is a PC whose disk has copy a of the agent without a kernel, and a Windows Boot Manager.
type loaderMachine struct {
	config *vm.Config
	block  string // path of GRUB's block, for mtools
}

func newLoaderMachine(t *testing.T, secure bool) *loaderMachine {
	t.Helper()
	find := vm.FindFirmware
	if secure {
		find = vm.FindSecureFirmware
	}
	firmware, err := find()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk.img")
	files := signedFiles(t, "EFI/Microsoft/Boot", "bootmgfw.efi", fmt.Sprintf("echo %q\nhalt\n", windowsStarted), nil)
	for name, from := range signedFiles(t, "EFI/BOOT", "BOOTX64.EFI", "set fw_path=\"($root)/EFI/Troy/a\"\nsource \"$fw_path/grub.cfg\"\n", installed(t)) {
		files[name] = from
	}
	fill(t, disk, espMiB, files)
	return &loaderMachine{block: disk + "@@1M", config: &vm.Config{Name: "loader", Dir: dir, Firmware: firmware, Vars: filepath.Join(dir, "vars.fd"),
		Timeout: 8 * time.Minute, Disks: []vm.Disk{{Path: disk}}}}
}

// installed are the files that package selfboot puts on an ESP.
func installed(t *testing.T) map[string]string {
	t.Helper()
	beside, err := testlab.GRUBBeside()
	if err != nil {
		t.Fatal(err)
	}
	shim, err := os.ReadFile(testlab.Loader(release.Shim))
	if err != nil {
		t.Fatal(err)
	}
	content := map[string][]byte{release.Shim: shim, release.GRUB: beside, release.Kernel: []byte("no kernel"), release.Initrd: {1}, release.Site: {1}}
	r := &selfboot.Release{Release: release.Release{Version: "1"}, Cmdline: "quiet",
		Open: func(name string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content[name])), nil }}
	for _, name := range release.Files() {
		r.Files = append(r.Files, release.File{Name: name, Size: int64(len(content[name])), SHA256: sha256.Sum256(content[name])})
	}
	root := t.TempDir()
	_, err = selfboot.Install(t.Context(), &selfboot.Options{ESPDir: root, ESP: chainload.Partition{Number: 1, GUID: guid.GUID{1}}, Variables: efitest.New()}, r)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, name := range []string{"a/grub.cfg", "a/" + release.Kernel, "grubenv"} {
		files["EFI/Troy/"+name] = filepath.Join(root, "EFI", "Troy", filepath.FromSlash(name))
	}
	return files
}

// starts starts the PC with a block, and wants to see what it starts, and the block then.
func (m *loaderMachine) starts(t *testing.T, block string, change func(*vm.Config), key, want, after string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "grubenv")
	whole := func(text string) []byte {
		b := []byte("# GRUB Environment Block\n" + text)
		return append(b, bytes.Repeat([]byte("#"), 1024-len(b))...)
	}
	if err := os.WriteFile(file, whole(block), 0o644); err != nil {
		t.Fatal(err)
	}
	mtools(t, "mcopy", "-o", "-i", m.block, file, grubBlock)
	c := *m.config
	if change != nil {
		change(&c)
	}
	v, err := vmlab.Start(t.Context(), &c)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if key != "" {
		_, err = v.Expect(t.Context(), directScreen)
		err = errors.Join(err, v.Press(t.Context(), key))
	}
	if err == nil {
		_, err = v.Expect(t.Context(), windowsStarted) // also in place of an agent that cannot be started
	}
	if err != nil {
		t.Fatal(err)
	}
	v.Kill()
	log := v.Log()
	if agent := strings.Contains(log, noKernel); agent != (want == "") || want != "" && !strings.Contains(log, want) {
		t.Errorf("%q: want %q\n%s", block, want, log)
	}
	mtools(t, "mcopy", "-o", "-n", "-i", m.block, grubBlock, file)
	if b, err := os.ReadFile(file); err != nil || want != "" && !bytes.Equal(b, whole(after)) {
		t.Errorf("%q: %v, the block is %.100q", block, err, b)
	}
}
