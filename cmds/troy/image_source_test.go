package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"troy/chainload/regf"
	"troy/image"
	"troy/image/source"
	"troy/internal/cli"
	"troy/vhdx/vhdxcmd"
)

// external runs a program that the tests need.
func external(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// installWIM is a WIM with two editions of a stand-in for Windows.
func installWIM(t *testing.T) string {
	t.Helper()
	root, wim := t.TempDir(), filepath.Join(t.TempDir(), "install.wim")
	registry := &regf.Key{Name: "ROOT", Flags: 4}
	registry.Make("Setup").Set("OOBEInProgress", regf.DWORD, regf.EncodeDWORD(1))
	hive, err := (&regf.Hive{Root: registry}).Marshal()
	must(t, err)
	for name, content := range map[string]string{"System32/config/SYSTEM": string(hive), "Boot/EFI/bootmgfw.efi": "MZ boot manager", "Panther/old.log": "", "System32/winload.efi": "MZ loader", "System32/kernel.dll": "MZ kernel"} {
		p := filepath.Join(root, "Windows", name)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, []byte(content), 0o644))
	}
	external(t, "wimlib-imagex", "capture", root, wim, "Windows Home", "--image-property", "WINDOWS/ARCH=9", "--compress=none")
	external(t, "wimlib-imagex", "append", root, wim, "Windows Pro", "--image-property", "WINDOWS/ARCH=9")
	return wim
}

// TestImportMedium publishes an edition; whatever is refused leaves the store as it was.
func TestImportMedium(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	t.Setenv("TROY_STORE", store)
	wantTroy(t, exitOK, "init", store)
	wim := installWIM(t)
	answers := func(name, element string) string {
		p := filepath.Join(dir, name)
		must(t, os.WriteFile(p, []byte("<unattend>"+element+"</unattend>"), 0o644))
		return p
	}
	secret := answers("secret.xml", "<ProductKey>AAAAA-BBBBB</ProductKey>")
	raw := filepath.Join(dir, "raw")
	must(t, os.WriteFile(raw, append(make([]byte, 510), 0x55, 0xaa), 0o644))

	list := wantTroy(t, cli.Usage, "image", "import", "pc", wim)
	for _, want := range []string{"1  Windows Home", "2  Windows Pro", "x64"} {
		if !strings.Contains(list.out, want) {
			t.Errorf("the list of editions lacks %q:\n%s", want, list.out)
		}
	}
	if e := wantJSON[[]source.Edition](t, cli.Usage, "image", "import", "pc", wim); len(e) != 2 || e[1].Name != "Windows Pro" {
		t.Errorf("editions: %+v", e)
	}
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{cli.Usage, `no edition "Windows 12"`, []string{wim, "--edition", "Windows 12"}},
		{cli.Usage, "--size 0", []string{wim, "--edition", "1", "--size", "0"}},
		{cli.Usage, "--domain-join are for one that is made", []string{wim, "--edition", "1", "--unattend", secret, "--audit"}},
		{exitFailed, "holds secrets: unattend/ProductKey; nothing was published; everyone on the network", []string{wim, "--edition", "1", "--unattend", secret}},
		{exitFailed, "language \"Deutsch!\"", []string{wim, "--edition", "1", "--language", "Deutsch!"}},
		{exitFailed, "no XML", []string{wim, "--edition", "1", "--unattend", raw}},
		{cli.Usage, "--edition, --audit is for installation media", []string{raw, "--edition", "1", "--audit"}},
		{cli.Usage, "--parent is for VHDX", []string{raw, "--parent", raw}},
		{exitFailed, "no disk, image or installation medium that Troy knows", []string{secret}},
	} {
		if r := wantTroy(t, c.code, append([]string{"image", "import", "pc"}, c.args...)...); !strings.Contains(r.errOut, c.says) {
			t.Errorf("%q: %s, want %q", c.args, r.errOut, c.says)
		}
	}
	left, err := os.ReadDir(filepath.Join(store, "tmp"))
	if found := wantJSON[[]image.Manifest](t, exitOK, "image", "list"); len(found) > 0 || len(left) > 0 || err != nil {
		t.Errorf("%d versions and %d temporary files, %v", len(found), len(left), err)
	}

	m := wantJSON[image.Manifest](t, exitOK, "image", "import", "pc", wim, "--edition", "windows pro", "--size", "1",
		"--unattend", secret, "--secrets-in-image")
	if !m.Setup || m.VirtualSize != 1<<30 || !strings.Contains(strings.Join(m.Notes, "\n"), "edition 2 of install.wim: Windows Pro") {
		t.Errorf("manifest: %+v", m)
	}
	if left, err := os.ReadDir(filepath.Join(store, "tmp")); len(left) > 0 || err != nil {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
	if r := wantTroy(t, exitFailed, "image", "add", "pc", wim); !strings.Contains(r.errOut, "'image import' makes version 1") {
		t.Errorf("add: %s", r.errOut)
	}
	joining := wantJSON[image.Manifest](t, exitOK, "image", "import", "joined", wim, "--edition", "1", "--size", "0.125", "--domain-join")
	if f := joining.Fields; len(f) != 1 || f[0].Kind != image.FieldAnswers || !f[0].Private || len(f[0].Slots) != 2 || f[0].Slots[1].Name != accountSlot {
		t.Errorf("fields of an edition: %+v", f)
	}
	addConverted(t, dir)
}

// addConverted adds a version from a disk of another program, which is compared.
func addConverted(t *testing.T, dir string) {
	vhdx, raw, qcow := filepath.Join(dir, "pc.vhdx"), filepath.Join(dir, "pc.raw"), filepath.Join(dir, "pc.qcow2")
	wantTroy(t, exitOK, "image", "export", "pc", "1", vhdx)
	wantVHDX(t, exitOK, "convert", "--to", "raw", vhdx, raw)
	f, err := os.OpenFile(raw, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("between the table and the first partition"), 40<<10)
	must(t, err)
	must(t, f.Close())
	external(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow)
	if m := wantJSON[image.Manifest](t, exitOK, "image", "add", "--secrets-in-image", "pc", qcow); m.Version != 2 || m.Figures.Shipped != image.PageSize {
		t.Errorf("version 2: %+v", m.Figures)
	}
	again := filepath.Join(dir, "again.vhdx")
	c := wantJSON[vhdxcmd.Converted](t, exitOK, "vhdx", "convert", "--to", "dynamic", qcow, again)
	if c.SourceFormat != "qcow2" || c.VirtualDiskSize != 1<<30 {
		t.Errorf("convert: %+v", c)
	}
	external(t, "qemu-img", "compare", "-f", "vhdx", "-F", "qcow2", again, qcow)
}
