package main

import (
	"bytes"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"troy/chainload/bcd"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/internal/guid"
	"troy/internal/testing/needs"
	"troy/vhdx"
)

// storeSize is of the virtual disk of the tests below, in bytes: 4 MiB of Windows, random data
// behind.
const storeSize = 20 << 20

// windowsStore is a store with two versions of a disk with the boot files of a Windows.
type windowsStore struct {
	dir    string
	raw    [3]string // of version 1 and 2
	files  map[string][]byte
	device string // an image file that is not made yet
}

func newWindowsStore(t *testing.T, r *rand.Rand) *windowsStore {
	t.Helper()
	dir := t.TempDir()
	w := &windowsStore{dir: filepath.Join(dir, "store"), device: filepath.Join(dir, "pc.img"), files: map[string][]byte{}}
	for _, name := range []string{"EFI/bootmgfw.efi", "EFI/en-US/bootmgfw.efi.mui", "EFI_EX/bootmgfw_EX.efi", "Fonts/chs_boot.ttf", "Resources/bootres.dll"} {
		b := make([]byte, 10000+r.Intn(50000))
		r.Read(b)
		w.files[name] = append([]byte("MZ"), b...)
	}
	for i := range w.raw {
		w.raw[i] = filepath.Join(dir, "v"+strconv.Itoa(i)+".raw")
	}
	disk := w.partition(t)
	for _, at := range []int{6 << 20, 8<<20 + 4096, 15 << 20} {
		r.Read(disk[at : at+r.Intn(2<<20)])
	}
	must(t, os.WriteFile(w.raw[1], disk, 0o644))
	base, child := filepath.Join(dir, "base.vhdx"), filepath.Join(dir, "child.vhdx")
	wantVHDX(t, exitOK, "convert", "--to", "dynamic", w.raw[1], base)
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", base, child)
	c, err := vhdx.OpenChain(child, &vhdx.ChainOptions{Writable: true, Parents: &vhdx.Parents{Named: []string{base}}})
	must(t, err)
	for range 12 {
		at, n := 6<<20+r.Intn(12<<20), 1+r.Intn(60<<10)
		r.Read(disk[at : at+n])
		_, err := c.WriteAt(disk[at:at+n], int64(at))
		must(t, err)
	}
	must(t, c.Close())
	must(t, os.WriteFile(w.raw[2], disk, 0o644))
	wantTroy(t, exitOK, "init", w.dir)
	t.Setenv("TROY_STORE", w.dir)
	wantTroy(t, exitOK, "image", "import", "--force-unbootable", "win", base)
	wantTroy(t, exitOK, "image", "add", "--force-unbootable", "win", child)
	return w
}

// partition makes a disk with the Windows volume; ntfs-3g writes it.
func (w *windowsStore) partition(t *testing.T) []byte {
	t.Helper()
	volume := filepath.Join(t.TempDir(), "volume")
	must(t, os.WriteFile(w.raw[0], nil, 0o644))
	must(t, os.Truncate(w.raw[0], storeSize))
	tool(t, "", "sgdisk", "-n", "1:2048:+4M", "-t", "1:0700", w.raw[0])
	must(t, os.WriteFile(volume, nil, 0o644))
	must(t, os.Truncate(volume, 4<<20))
	tool(t, "", "mkntfs", "-q", "-Q", "-F", "-s", "512", "-p", "2048", "-H", "1", "-S", "1", volume)
	must(t, pcdisk.Mounted(t.Context(), volume, func(root string) error {
		for name, b := range w.files {
			at := filepath.Join(root, "Windows", "Boot", name)
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(at, b, 0o644); err != nil {
				return err
			}
		}
		return nil
	}))
	disk, err := os.ReadFile(w.raw[0])
	must(t, err)
	b, err := os.ReadFile(volume)
	must(t, err)
	copy(disk[1<<20:], b)
	return disk
}

func (w *windowsStore) prepare(more ...string) []string {
	return append([]string{"prepare", "--store", w.dir, "--image", "win", "--esp", "40M", "--room", "8M", w.device}, more...)
}

// holds compares what the machine shows with a version.
func (w *windowsStore) holds(t *testing.T, version int) {
	t.Helper()
	troyDisk(t, 0, "verify", "--session", "--against", w.raw[version], w.device)
	if d := diskJSON[jsonDisk](t, 0, "inspect", w.device); d.State == nil || d.State.Version != version || d.State.Image != "win" {
		t.Errorf("inspect: %+v", d)
	}
}

// onESP reads a file of the ESP.
func (w *windowsStore) onESP(t *testing.T, name string) []byte {
	t.Helper()
	esp := diskJSON[jsonDisk](t, 0, "inspect", w.device).Partitions[0]
	return tool(t, "", "mtype", "-i", w.device+"@@"+strconv.FormatInt(esp.Start, 10), "::/"+name)
}

// TestDiskStore: a bare disk is made from a store, boot files and all; a store that breaks in
// between is no harm; then the machine is reinstalled, damaged, and healed.
func TestDiskStore(t *testing.T) {
	needs.Root(t)
	w := newWindowsStore(t, seeded(t))
	pack := w.pack(t, 2)
	must(t, os.Rename(pack, pack+".away"))
	out := troyDisk(t, exitFailed, w.prepare("--create", diskSize)...)
	if !strings.Contains(out, "run the command again, it goes on") {
		t.Errorf("a store without the pack: %s", out)
	}
	must(t, os.Rename(pack+".away", pack))
	troyDisk(t, 0, w.prepare()...)
	w.holds(t, 2)
	w.checkESP(t, "EFI/bootmgfw.efi")
	refuseDisk(t, w.device, w.prepare(), "not empty", "--wipe")
	troyDisk(t, 0, w.prepare("--wipe", "--version", "1", "--boot-ca", "2023", "--data", "400M")...)
	w.holds(t, 1)
	w.checkESP(t, "EFI_EX/bootmgfw_EX.efi")
	tool(t, "", "sgdisk", "-v", w.device)

	refuseDisk(t, w.device, []string{"reinstall", "--store", w.dir, "--image", "win", "--version", "9", w.device}, "version 9")
	c := diskJSON[jsonDiskChange](t, 0, "reinstall", "--store", w.dir, "--image", "win", w.device)
	if c.State == nil || c.State.Version != 2 || c.Written < 5<<20 {
		t.Errorf("reinstall: %+v", c)
	}
	w.holds(t, 2)

	refuseDisk(t, w.device, []string{"heal", "--store", w.dir, w.device}, "not changed")
	w.damage(t)
	refuseDisk(t, w.device, []string{"verify", w.device}, "'troy disk heal' repairs it")
	if out := troyDisk(t, 0, "heal", "--store", w.dir, w.device); !strings.Contains(out, "healed 1 regions") {
		t.Errorf("heal: %s", out)
	}
	w.holds(t, 2)
	for _, args := range [][]string{{"heal", w.device}, {"reinstall", "--store", w.dir, w.device}, {"reinstall", "--image", "win", w.device}} {
		troyDisk(t, exitUsage, args...)
	}
}

// pack returns the path of a version's pack.
func (w *windowsStore) pack(t *testing.T, version int) string {
	t.Helper()
	m := wantJSON[image.Manifest](t, exitOK, "image", "show", "win", strconv.Itoa(version))
	return filepath.Join(w.dir, filepath.FromSlash(m.Pack.Name))
}

// checkESP compares the boot files with those in the image.
func (w *windowsStore) checkESP(t *testing.T, manager string) {
	t.Helper()
	for to, from := range map[string]string{"EFI/Microsoft/Boot/bootmgfw.efi": manager, "EFI/Boot/bootx64.efi": manager,
		"EFI/Microsoft/Boot/en-US/bootmgfw.efi.mui": "EFI/en-US/bootmgfw.efi.mui", "EFI/Microsoft/Boot/Fonts/chs_boot.ttf": "Fonts/chs_boot.ttf",
		"EFI/Microsoft/Boot/Resources/bootres.dll": "Resources/bootres.dll"} {
		if !bytes.Equal(w.onESP(t, to), w.files[from]) {
			t.Errorf("%s on the ESP is not %s", to, from)
		}
	}
	store, err := bcd.Parse(w.onESP(t, storePath))
	must(t, err)
	d := diskJSON[jsonDisk](t, 0, "inspect", w.device)
	id := func(s string) guid.GUID { g, err := guid.Parse(s); must(t, err); return g }
	must(t, store.Names(bcd.VHD{Disk: id(d.GUID), Partition: id(d.Partitions[2].GUID), Path: bcd.DefaultPath}))
}

// damage writes into the parent as somebody does who opens it read-write.
func (w *windowsStore) damage(t *testing.T) {
	t.Helper()
	d, err := pcdisk.Look(w.device, &blockdev.Options{})
	must(t, err)
	defer d.Close()
	files, err := d.MapFiles()
	must(t, err)
	f, err := vhdx.OpenStorage(files.Base.Storage, files.Base.Size, &vhdx.OpenOptions{Writable: true})
	must(t, err)
	c, err := vhdx.NewChain(f)
	must(t, err)
	_, err = c.WriteAt(bytes.Repeat([]byte("foreign "), 512), 7<<20)
	must(t, err)
	must(t, c.Close())
	if _, err := machine.Open(files); err == nil {
		t.Fatal("the machine does not notice")
	}
}
