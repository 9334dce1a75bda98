package initramfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/chainload/release"
	"troy/initramfs/bundle"
	"troy/internal/kernelargs"
)

const testCmdline = "console=ttyS0 panic=-1 quiet troy.server=http://10.0.2.2:8080/"

func smallInitrd(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small.zst")
	if err := Pack(path, []File{{Name: "init", Data: []byte("x"), Mode: 0o755}}); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUSB(t *testing.T) {
	boot := smallBoot(t)
	extra := []byte("server: http://192.0.2.1/\n")
	build := func(data []byte) string {
		out := filepath.Join(t.TempDir(), "usb.img")
		err := USB(t.Context(), &USBOptions{Boot: boot, Out: out, extra: []File{{Name: "troy/media/config.yaml", Data: data}}})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	img := build(extra)
	if out, err := exec.Command("sgdisk", "-v", img).CombinedOutput(); err != nil || !bytes.Contains(out, []byte("No problems found")) {
		t.Errorf("sgdisk -v: %v\n%s", err, out)
	}
	whole, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	if stub := biosStub(); !bytes.Equal(whole[:len(stub)], stub) || len(stub) > biosStubSize || stub[len(stub)-1] != 0 {
		t.Error("the boot record does not say that UEFI is needed")
	}
	fat := filepath.Join(t.TempDir(), "fat.img")
	if err := os.WriteFile(fat, whole[mebibyte:len(whole)-mebibyte], 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("fsck.fat", "-n", "-v", fat).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("2 FATs, 32 bit entries")) {
		t.Errorf("fsck.fat -n: %v\n%s", err, out)
	}
	onStick(t, img, map[string][]byte{removablePath: ofBundle(t, boot, release.Shim), "troy/initramfs.cpio.zst": ofBundle(t, boot, release.Initrd),
		"troy/site.cpio": boot.Site, "troy/media/config.yaml": extra})
	time.Sleep(2100 * time.Millisecond) // FAT counts in steps of two seconds
	sameFiles(t, img, build(extra))
	other, err := os.ReadFile(build([]byte("server: http://192.0.2.2/\n")))
	if err != nil {
		t.Fatal(err)
	}
	const diskGUID, serial = sectorSize + 56, mebibyte + 67
	if bytes.Equal(whole[diskGUID:diskGUID+16], other[diskGUID:diskGUID+16]) ||
		binary.LittleEndian.Uint32(whole[serial:]) == binary.LittleEndian.Uint32(other[serial:]) {
		t.Error("two different sticks have the same identifiers")
	}
}

// smallBoot is a Boot with a small initramfs and true boot loaders.
func smallBoot(t *testing.T) *Boot {
	t.Helper()
	old, dir, files := sharedBuild(t).bundle, t.TempDir(), map[string][]byte{}
	var err error
	for _, name := range bundle.Names() {
		if files[name], err = old.Read(name); err != nil {
			t.Fatal(err)
		}
	}
	small, err := os.ReadFile(smallInitrd(t))
	if err != nil {
		t.Fatal(err)
	}
	files[release.Initrd] = small
	if err := bundle.Write(dir, &bundle.Manifest{Version: "small"}, files); err != nil {
		t.Fatal(err)
	}
	b := &Boot{Cmdline: "quiet console=ttyS0,115200 a=$b"}
	if b.Bundle, err = bundle.Open(dir); err != nil {
		t.Fatal(err)
	}
	if b.Site, err = Site(siteFiles); err != nil {
		t.Fatal(err)
	}
	return b
}

// ofBundle is a file of the bundle.
func ofBundle(t *testing.T, b *Boot, name string) []byte {
	t.Helper()
	data, err := b.Bundle.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// onStick compares files of a stick.
func onStick(t *testing.T, img string, files map[string][]byte) {
	t.Helper()
	for name, want := range files {
		got, err := exec.Command("mtype", "-i", img+"@@1M", "::/"+name).Output()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes (%v), want %d", name, len(got), err, len(want))
		}
	}
}

// The signed stick holds the loaders unchanged, at the names that they look for.
func TestSignedStick(t *testing.T) {
	b, img := smallBoot(t), filepath.Join(t.TempDir(), "usb.img")
	if err := USB(t.Context(), &USBOptions{Boot: b, Out: img}); err != nil {
		t.Fatal(err)
	}
	onStick(t, img, map[string][]byte{
		removablePath: ofBundle(t, b, release.Shim), "EFI/BOOT/grubx64.efi": ofBundle(t, b, bundle.GRUBDisk),
		"troy/vmlinuz": ofBundle(t, b, release.Kernel), "troy/initramfs.cpio.zst": ofBundle(t, b, release.Initrd), "troy/site.cpio": b.Site,
		"troy/arguments.cfg": []byte(arguments), "EFI/debian/grub.cfg": []byte(b.diskConfig()),
	})
	if text := b.diskConfig(); !strings.Contains(text, "linux /troy/vmlinuz quiet console=ttyS0,115200 'a=$b' $arguments;") {
		t.Errorf("grub.cfg does not quote its arguments:\n%s", text)
	}
}

// xorriso reads back what the ISO image holds; two images of the same input are the same.
func TestISO(t *testing.T) {
	b, dir := smallBoot(t), t.TempDir()
	iso, again := filepath.Join(dir, "a.iso"), filepath.Join(dir, "b.iso")
	for _, out := range []string{iso, again} {
		if err := ISO(t.Context(), &ISOOptions{Boot: b, Out: out}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1100 * time.Millisecond)
	}
	sameFiles(t, iso, again)
	report, err := exec.Command("xorriso", "-indev", iso, "-report_el_torito", "plain", "-report_system_area", "plain").CombinedOutput()
	for _, want := range []string{`El Torito boot img :   1  BIOS  y   none`, `El Torito boot img :   2  UEFI  y   none`, `GPT type GUID      :   2  28732ac11ff8d211ba4b00a0c93ec93b`, `Volume id    : 'TROY'`} {
		if err != nil || !bytes.Contains(report, []byte(want)) {
			t.Errorf("xorriso's report lacks %q (%v):\n%s", want, err, report)
		}
	}
	if out, err := exec.Command("xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/", filepath.Join(dir, "tree")).CombinedOutput(); err != nil {
		t.Fatalf("xorriso: %v\n%s", err, out)
	}
	for name, want := range map[string][]byte{"vmlinuz": ofBundle(t, b, release.Kernel), "initramfs.cpio.zst": ofBundle(t, b, release.Initrd), "site.cpio": b.Site} {
		got, err := os.ReadFile(filepath.Join(dir, "tree/troy", name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes (%v), want %d", name, len(got), err, len(want))
		}
	}
	t.Setenv("PATH", dir)
	if err := ISO(t.Context(), &ISOOptions{Boot: b, Out: iso}); !errors.Is(err, ErrNoMtools) {
		t.Errorf("ISO without mtools = %v, want %v", err, ErrNoMtools)
	}
}

func TestNet(t *testing.T) {
	b, dir := smallBoot(t), filepath.Join(t.TempDir(), "net")
	if err := Net(t.Context(), &NetOptions{Boot: b, URL: "http://192.0.2.1:8080//boot//", Out: dir}); err != nil {
		t.Fatal(err)
	}
	for name, wants := range map[string][]string{
		"grub/grub.cfg": {"for from in '(http,192.0.2.1,8080)/boot' ''; do", " BOOTIF=01-$net_default_mac;"},
		"boot.ipxe":     {"kernel troy/vmlinuz quiet", " BOOTIF=01-${netX/mac:hexhyp} initrd="},
		"dnsmasq.conf":  {"dhcp-boot"},
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		for _, want := range wants {
			if err != nil || !bytes.Contains(got, []byte(want)) {
				t.Errorf("%s lacks %q (%v):\n%s", name, want, err, got)
			}
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "grubx64.efi")); err != nil || !bytes.Equal(got, ofBundle(t, b, bundle.GRUBNet)) {
		t.Errorf("grubx64.efi is not GRUB's network build (%v)", err)
	}
	for _, bad := range []string{"https://a/", "http://", "http://a b/", "http://u@a/", "http://a,1/", "http://[2001:db8::1]/", "http://a/?q", "http://a/$x"} {
		if err := Net(t.Context(), &NetOptions{Boot: b, URL: bad, Out: dir}); !errors.Is(err, ErrURL) {
			t.Errorf("URL %q: %v, want %v", bad, err, ErrURL)
		}
	}
}

// What the media are made of is checked before anything is written.
func TestBootRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Boot)
		want   error
	}{
		"quote in arguments":   {func(b *Boot) { b.Cmdline = "a='b c'" }, kernelargs.ErrInvalid},
		"newline in arguments": {func(b *Boot) { b.Cmdline = "a\nreboot" }, kernelargs.ErrInvalid},
	} {
		b, out := smallBoot(t), filepath.Join(t.TempDir(), "out")
		c.change(b)
		for what, err := range map[string]error{
			"USB": USB(t.Context(), &USBOptions{Boot: b, Out: out}), "ISO": ISO(t.Context(), &ISOOptions{Boot: b, Out: out}),
			"Net": Net(t.Context(), &NetOptions{Boot: b, Out: out}),
		} {
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %s = %v, want %v", name, what, err, c.want)
			}
		}
		if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something was written (%v)", name, err)
		}
	}
}

func TestUSBWithoutMtools(t *testing.T) {
	boot := testBoot(t)
	t.Setenv("PATH", t.TempDir())
	err := USB(t.Context(), &USBOptions{Boot: boot, Out: filepath.Join(t.TempDir(), "usb.img")})
	if !errors.Is(err, ErrNoMtools) {
		t.Errorf("USB without mtools = %v, want %v", err, ErrNoMtools)
	}
}
