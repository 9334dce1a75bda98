package standin

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"troy/internal/block"
	"troy/internal/durable"
)

// stubFile is where Debian's systemd-boot-efi puts the stub.
const stubFile = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"

// errStub says that systemd's stub, or what was found in its place, cannot be used.
var errStub = errors.New("not a usable EFI stub")

// unify writes one EFI program that holds kernel, initramfs and command line: sections are appended
// to systemd's stub as https://uapi-group.org/specifications/specs/unified_kernel_image/ says.
func unify(kernel, initrd, cmdline, out string) error {
	stub, err := os.ReadFile(stubFile)
	if err != nil {
		return fmt.Errorf("EFI stub (Debian package systemd-boot-efi): %w", err)
	}
	sections := []section{{".cmdline", []byte(cmdline)}}
	for _, s := range []struct{ name, file string }{{".initrd", initrd}, {".linux", kernel}} { // a kernel uses memory beyond its end
		data, err := os.ReadFile(s.file)
		if err != nil {
			return err
		}
		sections = append(sections, section{s.name, data})
	}
	image, err := appendSections(stub, sections)
	if err != nil {
		return fmt.Errorf("EFI stub %s: %w", stubFile, err)
	}
	return durable.WriteFile(out, image, 0o644)
}

// section is a section to be added to a PE image.
type section struct {
	name string // at most 8 bytes
	data []byte
}

// Sizes and offsets of the PE/COFF format, relative to the COFF header.
const (
	coffHeaderSize     = 20
	sectionHeaderSize  = 40
	optSizeOfImage     = coffHeaderSize + 56
	optSizeOfInitData  = coffHeaderSize + 8
	optCheckSum        = coffHeaderSize + 64
	optSecurity        = coffHeaderSize + 112 + 8*4 // data directory 4: signatures
	coffSymbolTable    = 8
	coffNumberOfSyms   = 12
	sectionReadOnly    = pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ
	sectionVirtualUnit = 4096 // page size of the firmware
)

// appendSections returns the PE image stub with further sections. Symbols and
// signatures of the stub are dropped: both would be wrong afterwards.
func appendSections(stub []byte, add []section) ([]byte, error) {
	f, err := pe.NewFile(bytes.NewReader(stub))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errStub, err)
	}
	opt, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok || f.Machine != pe.IMAGE_FILE_MACHINE_AMD64 {
		return nil, fmt.Errorf("%w: not for x86-64", errStub)
	}
	l, err := measure(f, opt, stub)
	if err != nil {
		return nil, err
	}
	headers := l.coff + coffHeaderSize + int(f.SizeOfOptionalHeader) + len(f.Sections)*sectionHeaderSize
	if headers+len(add)*sectionHeaderSize > int(opt.SizeOfHeaders) {
		return nil, fmt.Errorf("%w: no room for %d section headers", errStub, len(add))
	}
	out := append([]byte(nil), stub[:l.fileEnd]...)
	var added uint32
	for i, s := range add {
		h := pe.SectionHeader32{VirtualSize: uint32(len(s.data)), VirtualAddress: l.virtualEnd, Characteristics: sectionReadOnly}
		copy(h.Name[:], s.name)
		out = block.Pad(out, int(opt.FileAlignment))
		h.PointerToRawData = uint32(len(out))
		out = block.Pad(append(out, s.data...), int(opt.FileAlignment))
		h.SizeOfRawData = uint32(len(out)) - h.PointerToRawData
		if _, err := binary.Encode(out[headers+i*sectionHeaderSize:], binary.LittleEndian, h); err != nil {
			return nil, err
		}
		l.virtualEnd = block.RoundUp(l.virtualEnd+h.VirtualSize, l.virtualUnit)
		added += h.SizeOfRawData
	}
	coff := out[l.coff:]
	le := binary.LittleEndian
	le.PutUint16(coff[2:], uint16(len(f.Sections)+len(add)))
	le.PutUint32(coff[coffSymbolTable:], 0)
	le.PutUint32(coff[coffNumberOfSyms:], 0)
	le.PutUint32(coff[optSizeOfInitData:], opt.SizeOfInitializedData+added)
	le.PutUint32(coff[optSizeOfImage:], l.virtualEnd)
	le.PutUint32(coff[optCheckSum:], 0) // firmware does not look at it
	le.PutUint64(coff[optSecurity:], 0)
	return out, nil
}

// layout is where the parts of a PE image end.
type layout struct {
	coff        int    // offset of the COFF header
	fileEnd     int    // end of the last section's data
	virtualEnd  uint32 // first free address after the last section
	virtualUnit uint32 // alignment of addresses
}

func measure(f *pe.File, opt *pe.OptionalHeader64, stub []byte) (layout, error) {
	l := layout{virtualUnit: max(opt.SectionAlignment, sectionVirtualUnit), fileEnd: int(opt.SizeOfHeaders)}
	l.coff = int(binary.LittleEndian.Uint32(stub[0x3c:])) + 4
	if f.SizeOfOptionalHeader < optSecurity+8-coffHeaderSize || opt.FileAlignment == 0 || len(f.Sections) == 0 {
		return l, fmt.Errorf("%w: header too short", errStub)
	}
	for _, s := range f.Sections {
		l.fileEnd = max(l.fileEnd, int(s.Offset)+int(s.Size))
		l.virtualEnd = max(l.virtualEnd, block.RoundUp(s.VirtualAddress+max(s.VirtualSize, s.Size), l.virtualUnit))
	}
	if l.fileEnd > len(stub) {
		return l, fmt.Errorf("%w: cut short", errStub)
	}
	return l, nil
}
