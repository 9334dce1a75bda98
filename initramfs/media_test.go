package initramfs

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const testCmdline = "console=ttyS0 panic=-1 quiet troy.server=http://10.0.2.2:8080/"

func testUKI(t *testing.T, initrd string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "troy.efi")
	err := UKI(t.Context(), &UKIOptions{Kernel: environment(t, "KERNEL"), Initrd: initrd, Cmdline: testCmdline, Out: out})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func smallInitrd(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small.zst")
	if err := Pack(path, []File{{Name: "init", Data: []byte("x"), Mode: 0o755}}); err != nil {
		t.Fatal(err)
	}
	return path
}

// What objcopy takes out must be what went in.
func TestUKISections(t *testing.T) {
	initrd := smallInitrd(t)
	uki := testUKI(t, initrd)
	for name, source := range map[string]string{".linux": environment(t, "KERNEL"), ".initrd": initrd, ".cmdline": "", ".sbat": ""} {
		out := filepath.Join(t.TempDir(), "section")
		b, err := exec.Command("objcopy", "-O", "binary", "--only-section="+name, uki, out).CombinedOutput()
		if err != nil {
			t.Fatalf("objcopy: %v: %s", err, b)
		}
		got, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		want := []byte(testCmdline)
		if source != "" {
			if want, err = os.ReadFile(source); err != nil {
				t.Fatal(err)
			}
		}
		if name == ".sbat" { // of the stub: only has to be there still
			want = got[:min(4, len(got))]
			if string(want) != "sbat" {
				t.Errorf("section .sbat begins with %q", want)
			}
		}
		if !bytes.HasPrefix(got, want) || len(bytes.Trim(got[len(want):], "\x00")) > 0 && name != ".sbat" {
			t.Errorf("section %s: %d bytes, not the %d that went in", name, len(got), len(want))
		}
	}
	sameFiles(t, uki, testUKI(t, initrd))
}

func TestUKILayout(t *testing.T) {
	f, err := pe.Open(testUKI(t, smallInitrd(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	opt := f.OptionalHeader.(*pe.OptionalHeader64)
	var end uint32
	for _, s := range f.Sections {
		if s.VirtualAddress < end || s.Offset%opt.FileAlignment != 0 || s.Size%opt.FileAlignment != 0 {
			t.Errorf("section %s at %#x, file %#x+%#x: overlaps or is not aligned", s.Name, s.VirtualAddress, s.Offset, s.Size)
		}
		end = s.VirtualAddress + s.VirtualSize
	}
	if opt.SizeOfImage < end {
		t.Errorf("SizeOfImage %#x, sections end at %#x", opt.SizeOfImage, end)
	}
	if last := f.Sections[len(f.Sections)-1].Name; last != ".linux" {
		t.Errorf("last section is %s, want .linux", last)
	}
}

func TestUKIRefuses(t *testing.T) {
	kernel := environment(t, "KERNEL")
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("no program ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	for name, c := range map[string]struct {
		o    UKIOptions
		want error
	}{
		"stub absent":       {UKIOptions{Kernel: kernel, Stub: out}, os.ErrNotExist},
		"stub not PE":       {UKIOptions{Kernel: kernel, Stub: text}, ErrStub},
		"kernel not kernel": {UKIOptions{Kernel: text}, ErrKernel},
		"initrd absent":     {UKIOptions{Kernel: kernel, Initrd: out}, os.ErrNotExist},
		"cmdline too long":  {UKIOptions{Kernel: kernel, Cmdline: strings.Repeat("x", 2048)}, ErrCmdline},
		"cmdline not ASCII": {UKIOptions{Kernel: kernel, Cmdline: "größe"}, ErrCmdline},
	} {
		c.o.Out = out
		if err := UKI(t.Context(), &c.o); !errors.Is(err, c.want) {
			t.Errorf("%s: UKI = %v, want %v", name, err, c.want)
		}
	}
	stub, err := os.ReadFile(DefaultStub)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := appendSections(stub, make([]section, 100)); !errors.Is(err, ErrStub) {
		t.Errorf("100 more sections: %v, want %v", err, ErrStub)
	}
	if _, err := appendSections(stub[:len(stub)/2], nil); !errors.Is(err, ErrStub) {
		t.Errorf("half a stub: %v, want %v", err, ErrStub)
	}
}

func FuzzAppendSections(f *testing.F) {
	stub, err := os.ReadFile(DefaultStub)
	if err != nil || len(stub) == 0 {
		f.Fatalf("no seed: %v", err)
	}
	f.Add(stub[:4096])
	f.Add(stub)
	f.Fuzz(func(t *testing.T, stub []byte) {
		out, err := appendSections(stub, []section{{".linux", []byte("kernel")}})
		if err != nil {
			return
		}
		p, err := pe.NewFile(bytes.NewReader(out))
		if err != nil {
			t.Fatalf("result is not PE: %v", err)
		}
		if s := p.Section(".linux"); s == nil || s.VirtualSize != 6 {
			t.Error("result lacks the section")
		}
	})
}

func TestUSB(t *testing.T) {
	uki := testUKI(t, smallInitrd(t))
	extra := []byte("server: http://192.0.2.1/\n")
	build := func(data []byte) string {
		out := filepath.Join(t.TempDir(), "usb.img")
		err := USB(t.Context(), &USBOptions{UKI: uki, Out: out, Files: []File{{Name: "troy/media/config.yaml", Data: data}}})
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
	fat := filepath.Join(t.TempDir(), "fat.img")
	if err := os.WriteFile(fat, whole[mebibyte:len(whole)-mebibyte], 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("fsck.fat", "-n", "-v", fat).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("2 FATs, 32 bit entries")) {
		t.Errorf("fsck.fat -n: %v\n%s", err, out)
	}
	for name, source := range map[string]string{RemovablePath: uki, "troy/media/config.yaml": ""} {
		got, err := exec.Command("mtype", "-i", fat, "::/"+name).Output()
		want := extra
		if source != "" {
			want, _ = os.ReadFile(source)
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes (%v), want %d", name, len(got), err, len(want))
		}
	}
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

func TestUSBWithoutMtools(t *testing.T) {
	uki := testUKI(t, "")
	t.Setenv("PATH", t.TempDir())
	err := USB(t.Context(), &USBOptions{UKI: uki, Out: filepath.Join(t.TempDir(), "usb.img")})
	if !errors.Is(err, ErrNoMtools) {
		t.Errorf("USB without mtools = %v, want %v", err, ErrNoMtools)
	}
}
