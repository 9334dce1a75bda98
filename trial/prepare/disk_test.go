package prepare

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"troy/chainload/regf"
	"troy/image/source"
	"troy/initramfs/bundle"
	"troy/internal/testing/hivextest"
	"troy/internal/testing/needs"
	"troy/internal/testing/samples"
	"troy/internal/testing/testlab"
	"troy/trial/inside"
)

// The test program is init of the guests that it starts.
func TestMain(m *testing.M) {
	Inside()
	os.Exit(m.Run())
}

const (
	mib         = 1 << 20
	volumeSize  = 64 * mib
	volumeStart = 17 * mib // of a volume that package source makes a disk of
)

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// software is a hive SOFTWARE of a Windows that belongs to nobody.
func software(t *testing.T) []byte {
	t.Helper()
	root := &regf.Key{Name: "ROOT"}
	root.Make("Microsoft")
	b, err := (&regf.Hive{Root: root}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// windowsVolume makes an NTFS volume with what a Windows has, spelled as no Windows spells it.
func windowsVolume(t *testing.T, system []byte) string {
	t.Helper()
	volume := filepath.Join(t.TempDir(), "volume")
	if err := errors.Join(os.WriteFile(volume, nil, 0o644), os.Truncate(volume, volumeSize)); err != nil {
		t.Fatal(err)
	}
	output(t, "mkntfs", "-q", "-Q", "-F", "-s", "512", "-p", "2048", "-H", "255", "-S", "63", volume)
	return addWindows(t, volume, system)
}

// addWindows writes it to a volume.
func addWindows(t *testing.T, volume string, system []byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range map[string][]byte{"System32/config/SYSTEM": system, "System32/config/SOFTWARE": software(t),
		"System32/WinLoad.efi": []byte("MZ"), "System32/SYSPREP/x": []byte("x"), "PANTHER/setup.log": []byte("x")} {
		path := filepath.Join(dir, "tree", "WINDOWS", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	wim := filepath.Join(dir, "tree.wim")
	output(t, "wimlib-imagex", "capture", filepath.Join(dir, "tree"), wim, "--no-acls", "--compress=none")
	output(t, "wimlib-imagex", "apply", wim, "1", volume)
	return volume
}

// disk is a disk with that volume, as a raw image.
func disk(t *testing.T, volume string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	s := recognise(t, volume)
	d, err := s.Open(t.Context(), &source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := copyDisk(t.Context(), path, d.Disk, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

func recognise(t *testing.T, path string) source.Source {
	t.Helper()
	s, err := source.Recognise(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sum(t *testing.T, path string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// boot is the boot bundle of this checkout, whose Linux writes to the copies.
func boot(t *testing.T) *bundle.Bundle {
	t.Helper()
	b, err := testlab.Bundle(t.Context(), filepath.Join(t.TempDir(), "boot"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// options prepare a source in a folder of the test's own.
func options(t *testing.T, s source.Source) *Options {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "troy-gates.exe")
	if err := os.WriteFile(program, []byte("MZ the program"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := &Options{Source: s, Dir: filepath.Join(dir, "trial"), Program: program,
		Ballast: 4, Stamp: 9}
	if err := os.Mkdir(o.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return o
}

// volumeOf takes the volume out of a prepared disk, for programs that know no partitions.
func volumeOf(t *testing.T, path string, size int64) string {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "volume"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, io.NewSectionReader(in, volumeStart, size)); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}

// A Windows gets service, program and files, by Linux in a virtual PC; programs that are not ours
// find them, and the volume in order. The given file stays as it was.
func TestDisk(t *testing.T) {
	needs.Downloads(t)
	prepares(t, windowsVolume(t, smallHive(t, nil)), "ControlSet002")
}

// The same with a volume and a hive that Windows made.
func TestDiskOfWindows(t *testing.T) {
	if os.Getenv("TROY_SOAK") != "1" {
		t.Log("only with TROY_SOAK=1: it starts one more virtual PC")
		return
	}
	volume := samples.Unpack(t, t.TempDir(), "ntfs-windows-formatted-40M.dd")
	prepares(t, addWindows(t, volume, realHive(t, "replayed-by-us-win10-1709-SYSTEM")), "ControlSet001")
}

// ntfsfix is what that program says of a volume, which it leaves as it is.
func ntfsfix(volume string) string {
	said, err := exec.Command("ntfsfix", "-n", volume).CombinedOutput()
	return fmt.Sprintf("%s%v", said, err)
}

func prepares(t *testing.T, volume, set string) {
	before := sum(t, volume)
	o := options(t, recognise(t, volume))
	o.Bundle = boot(t)
	p, err := Disk(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if p.Setup || sum(t, volume) != before {
		t.Errorf("%+v; the given file changed: %t", p, sum(t, volume) != before)
	}
	if list, err := os.ReadDir(o.Dir); err != nil || len(list) != 1 || p.Path != filepath.Join(o.Dir, DiskName) {
		t.Errorf("in the folder are %v, %v", list, err)
	}
	info, err := os.Stat(volume)
	if err != nil {
		t.Fatal(err)
	}
	out := volumeOf(t, p.Path, info.Size())
	// A volume that ends early, as the sample does, has no second boot sector.
	was, now := ntfsfix(volume), ntfsfix(out)
	if !strings.Contains(now, "$MFT and $MFTMirr completed successfully") || strings.Contains(now, "BAD") != strings.Contains(was, "BAD") {
		t.Errorf("ntfsfix says:\n%s\nand before that:\n%s", now, was)
	}
	dir := t.TempDir()
	output(t, "7zz", "x", "-y", "-o"+dir, out, "Troy", "WINDOWS/System32/config/SYSTEM", "-r")
	if b, err := os.ReadFile(filepath.Join(dir, "Troy", "GATES.EXE")); err != nil || string(b) != "MZ the program" {
		t.Errorf("the program: %q, %v", b, err)
	}
	hive, err := os.ReadFile(filepath.Join(dir, "WINDOWS", "System32", "config", "SYSTEM"))
	if err != nil {
		t.Fatal(err)
	}
	root := hivextest.Read(t, hive)
	if s := root.Key(set).Key("Services"); s.Key("troytrial") == nil || len(s.Keys) < 3 {
		t.Errorf("the hive has %d services, and of them the trial's is %v", len(s.Keys), s.Key("troytrial"))
	}
	files, err := inside.OpenFiles(filepath.Join(dir, "Troy"), &inside.Order{Number: 1, BallastMiB: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	if s, err := inside.ReadBallast(files.Ballast, files.Size); err != nil || !s.One(9) || files.Size != 4*mib {
		t.Errorf("%v, %d bytes, %v", s, files.Size, err)
	}
	for _, name := range []string{"trial.bin", "ballast.bin"} {
		if said := output(t, "ntfsinfo", "-F", "/Troy/"+name, out); strings.Contains(strings.ToUpper(said), "SPARSE") || strings.Contains(said, "COMPRESSED") {
			t.Errorf("ntfsinfo says of %s:\n%s", name, said)
		}
	}
}

// A Windows whose setup has still to run gets the answers instead, where setup looks first.
func TestDiskBeforeSetup(t *testing.T) {
	if os.Getenv("TROY_SOAK") != "1" {
		t.Log("only with TROY_SOAK=1: it starts one more virtual PC; TestPlan has the rest")
		return
	}
	volume := windowsVolume(t, smallHive(t, func(root *regf.Key) {
		root.Key("Setup").Set("SystemSetupInProgress", regf.DWORD, regf.EncodeDWORD(1))
	}))
	o := options(t, recognise(t, volume))
	o.Bundle = boot(t)
	o.Language = "de-DE"
	p, err := Disk(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Answer("de-DE")
	if err != nil {
		t.Fatal(err)
	}
	out := volumeOf(t, p.Path, volumeSize)
	if got := output(t, "7zz", "x", "-so", out, "WINDOWS/PANTHER/unattend.xml"); got != string(want) || !p.Setup {
		t.Errorf("%+v; the answers are:\n%s", p, got)
	}
	if said := output(t, "7zz", "l", out); strings.Contains(said, "GATES.EXE") {
		t.Error("it has the program as well")
	}
}
