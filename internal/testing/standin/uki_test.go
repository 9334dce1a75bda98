package standin

import (
	"debug/pe"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// The sections follow each other in the file and in memory, the kernel last.
func TestUnify(t *testing.T) {
	dir := t.TempDir()
	kernel, initrd, out := filepath.Join(dir, "kernel"), filepath.Join(dir, "initrd"), filepath.Join(dir, "out.efi")
	for _, name := range []string{kernel, initrd} {
		if err := os.WriteFile(name, make([]byte, 5000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := unify(kernel, initrd, "quiet", out); err != nil {
		t.Fatal(err)
	}
	f, err := pe.Open(out)
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
	if opt.SizeOfImage < end || f.Sections[len(f.Sections)-1].Name != ".linux" {
		t.Errorf("SizeOfImage %#x, sections end at %#x", opt.SizeOfImage, end)
	}
	if _, err := appendSections([]byte("no program"), nil); !errors.Is(err, errStub) {
		t.Errorf("no program: %v", err)
	}
}
