package bootfiles

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"troy/chainload/secureboot"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
)

// Errors of Load.
var (
	// ErrMissing: no volume of the image has the boot files of Windows.
	ErrMissing = errors.New("the image holds no boot files of Windows")
	// ErrManyWindows: two volumes of the image have them.
	ErrManyWindows = errors.New("the image holds more than one Windows")
	// ErrNotTrusted: Secure Boot is on, and the machine starts none of the boot managers in the
	// image, nor one that is on the ESP.
	ErrNotTrusted = errors.New("the firmware starts no boot manager of the image (update the Windows in it, or the firmware's keys)")
	// ErrCompressed: Windows compressed a boot file.
	ErrCompressed = errors.New("a boot file is compressed")
	// ErrName: a boot file has a name that FAT does not know.
	ErrName = errors.New("not a file name")
	// ErrTooLarge: a boot file is larger than any sound one, or all together are.
	ErrTooLarge = errors.New("the boot files are too large")
)

// Folders of the image, and where their content goes on the ESP.
const (
	bootFolder = `\Windows\Boot`
	manager    = "bootmgfw.efi"
	espBoot    = "EFI/Microsoft/Boot"
	managerKey = "efi/microsoft/boot/" + manager // of a reader
	fallback   = "EFI/Boot/bootx64.efi"
	suffixEX   = "_EX"
)

// Bounds of what is believed, in bytes. A Windows 11 has 30 MB of boot files in all languages, 5 MB
// of them the largest.
const (
	maxFile  = 64 << 20
	maxTotal = 256 << 20
	maxFiles = 4096
	maxDepth = 4
)

// File is a file for the ESP.
type File struct {
	Path string // below the root of the ESP, with slashes
	Data []byte
}

// Set are the boot files of an image, for one machine.
type Set struct {
	Files    []File // sorted by path
	firmware *secureboot.Firmware
	manager  *secureboot.Program // Windows Boot Manager among the files; nil: it cannot be read
	refused  error               // why the machine does not start it; nil: it does
	// ca2023 tells that the boot managers are those signed under Windows UEFI CA 2023.
	ca2023 bool
	// partition is the number of the partition of the virtual disk that they come from.
	partition int
}

// Load reads the boot files of the Windows on a virtual disk of size bytes with logical sectors of
// sectorSize, for a machine with that firmware. Errors: ErrMissing, ErrManyWindows, ErrCompressed,
// ErrName, ErrTooLarge, ntfs.ErrCorrupt, blockdev.ErrNoTable, and those of reading.
func Load(disk io.ReaderAt, size int64, sectorSize int, firmware *secureboot.Firmware) (*Set, error) {
	v, number, err := find(disk, size, sectorSize)
	if err != nil {
		return nil, err
	}
	r := &reader{v: v, files: map[string]File{}}
	if err := r.folder(bootFolder+`\EFI`, espBoot, maxDepth); err != nil {
		return nil, err
	}
	s := &Set{firmware: firmware, partition: number}
	if err := s.choose(r); err != nil {
		return nil, err
	}
	for _, name := range []string{"Fonts", "Resources"} {
		if err := r.optional(bootFolder+`\`+name, espBoot+"/"+name); err != nil {
			return nil, err
		}
	}
	if s.ca2023 {
		r.strip = true
		if err := r.folder(bootFolder+`\EFI_EX`, espBoot, maxDepth); err != nil {
			return nil, err
		}
		if err := r.optional(bootFolder+`\Fonts_EX`, espBoot+"/Fonts"); err != nil {
			return nil, err
		}
	}
	s.collect(r)
	return s, nil
}

// Manager tells what is known of the set's Windows Boot Manager.
func (s *Set) Manager() secureboot.Program { return known(s.manager) }

// Starts returns an ErrNotTrusted if the machine does not start the set's Windows Boot Manager.
func (s *Set) Starts() error {
	if s.refused == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrNotTrusted, s.refused)
}

// collect sorts the files and adds the name by which firmware finds a disk without a boot entry.
func (s *Set) collect(r *reader) {
	for _, f := range r.files {
		s.Files = append(s.Files, f)
	}
	first := r.files[managerKey].Data
	s.Files = append(s.Files, File{Path: fallback, Data: first})
	slices.SortFunc(s.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
}

// find returns the volume with Windows' boot files.
func find(disk io.ReaderAt, size int64, sectorSize int) (*ntfs.Volume, int, error) {
	list, err := blockdev.Volumes(disk, size, sectorSize)
	if err != nil {
		return nil, 0, fmt.Errorf("partitions of the image: %w", err)
	}
	var found *ntfs.Volume
	var seen []string
	number := 0
	for _, e := range list {
		v, err := ntfs.Open(io.NewSectionReader(disk, e.Start, e.Size), e.Size)
		if err == nil {
			_, err = v.Lookup(bootFolder + `\EFI\` + manager)
		}
		switch {
		case errors.Is(err, ntfs.ErrNotExist):
			seen = append(seen, fmt.Sprintf("partition %d has no %s\\EFI\\%s", e.Number, bootFolder, manager))
		case err != nil:
			seen = append(seen, fmt.Sprintf("partition %d: %v", e.Number, err))
		case found != nil:
			return nil, 0, fmt.Errorf("%w: partitions %d and %d", ErrManyWindows, number, e.Number)
		default:
			found, number = v, e.Number
		}
	}
	if found == nil && len(seen) == 0 {
		seen = []string{"no partition that may hold it"}
	}
	if found == nil {
		return nil, 0, fmt.Errorf("%w: %s", ErrMissing, strings.Join(seen, "; "))
	}
	return found, number, nil
}

// choose takes the boot managers signed under the CA of 2023 where the machine starts them, else
// the others. Without Secure Boot only db says which will be needed.
func (s *Set) choose(r *reader) error {
	plain, ok := r.files[managerKey]
	if !ok || !bytes.HasPrefix(plain.Data, []byte("MZ")) {
		return fmt.Errorf("%w: %s\\EFI\\%s is no EFI program", ErrMissing, bootFolder, manager)
	}
	m := &Managers{plain: parse(plain.Data)}
	err := m.readEX(r)
	if err == nil {
		s.manager, s.ca2023, s.refused = m.choose(s.firmware)
	}
	return err
}

// Managers are the boot managers of an image, of which a machine takes one.
type Managers struct {
	plain, ex *secureboot.Program // nil: it cannot be read, or is not there
	hasEX     bool
}

// ReadManagers reads nothing but the boot managers. Errors: those of Load.
func ReadManagers(disk io.ReaderAt, size int64, sectorSize int) (*Managers, error) {
	v, _, err := find(disk, size, sectorSize)
	if err != nil {
		return nil, err
	}
	r := &reader{v: v}
	plain, err := r.read(bootFolder + `\EFI\` + manager)
	if err != nil {
		return nil, err
	}
	m := &Managers{plain: parse(plain)}
	return m, m.readEX(r)
}

func (m *Managers) readEX(r *reader) error {
	b, err := r.read(bootFolder + `\EFI_EX\bootmgfw_EX.efi`)
	if errors.Is(err, ntfs.ErrNotExist) {
		return nil
	}
	if err == nil {
		m.ex, m.hasEX = parse(b), true
	}
	return err
}

// Refused says why a machine starts none of them; nil: it starts one.
func (m *Managers) Refused(f *secureboot.Firmware) error {
	_, _, refused := m.choose(f)
	return refused
}

func (m *Managers) choose(f *secureboot.Firmware) (p *secureboot.Program, ex bool, refused error) {
	refused = f.Refuses(m.plain)
	if !m.hasEX {
		return m.plain, false, refused
	}
	also := f.Refuses(m.ex)
	switch {
	case f.On && also == nil, !f.On && f.Trusts(secureboot.CA2023):
		return m.ex, true, nil
	case refused != nil:
		refused = fmt.Errorf("%w; and that of %s\\EFI_EX: %w", refused, bootFolder, also)
	}
	return m.plain, false, refused
}

// parse reads a boot manager, nil if it is no program.
func parse(b []byte) *secureboot.Program {
	p, err := secureboot.Parse(b)
	if err != nil {
		return nil
	}
	return p
}

// known makes of what cannot be read a program that tells nothing.
func known(p *secureboot.Program) secureboot.Program {
	if p == nil {
		return secureboot.Program{}
	}
	return *p
}

// reader collects files; the key is the path in lower case, for FAT does not tell case.
type reader struct {
	v     *ntfs.Volume
	files map[string]File
	total int64
	strip bool // take _EX off the names
}

// optional is folder for one that need not be there.
func (r *reader) optional(from, to string) error {
	if _, err := r.v.Lookup(from); errors.Is(err, ntfs.ErrNotExist) {
		return nil
	}
	return r.folder(from, to, maxDepth)
}

// folder reads all files of a folder and of those in it.
func (r *reader) folder(from, to string, depth int) error {
	list, err := r.v.List(from)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	for _, e := range list {
		path := from + `\` + e.Name
		name := e.Name
		if r.strip {
			name = withoutEX(name)
		}
		if strings.Trim(name, ". ") == "" || strings.ContainsAny(name, `/\:*?"<>|`) {
			return fmt.Errorf("%w: %q in %s", ErrName, name, from)
		}
		if isStore(to + "/" + name) {
			continue
		}
		if _, err := r.v.List(path); err == nil {
			if depth == 0 {
				return fmt.Errorf("%w: %s lies too deep", ErrTooLarge, path)
			}
			if err := r.folder(path, to+"/"+name, depth-1); err != nil {
				return err
			}
			continue
		}
		if err := r.file(path, to+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

// isStore tells whether a file of the image would replace the BCD store of the machine.
func isStore(path string) bool {
	path = strings.ToLower(path)
	store := strings.ToLower(espBoot) + "/bcd"
	return path == store || strings.HasPrefix(path, store+".")
}

// withoutEX turns bootmgfw_EX.efi into bootmgfw.efi, and bootmgfw_EX.efi.mui into bootmgfw.efi.mui.
func withoutEX(name string) string {
	stem, ext, _ := strings.Cut(name, ".")
	if cut := len(stem) - len(suffixEX); cut > 0 && strings.EqualFold(stem[cut:], suffixEX) {
		return stem[:cut] + "." + ext
	}
	return name
}

// file reads one file into the set.
func (r *reader) file(from, to string) error {
	data, err := r.read(from)
	if err != nil {
		return err
	}
	r.files[strings.ToLower(to)] = File{Path: to, Data: data}
	return nil
}

// read reads one file.
func (r *reader) read(from string) ([]byte, error) {
	f, err := r.v.OpenFile(from)
	if errors.Is(err, ntfs.ErrUnsupported) {
		return nil, fmt.Errorf("%w: %s (compact /u takes that back)", ErrCompressed, from)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	r.total += f.Size()
	if f.Size() > maxFile || r.total > maxTotal || len(r.files) == maxFiles {
		return nil, fmt.Errorf("%w: %s has %d bytes, %d files before it", ErrTooLarge, from, f.Size(), len(r.files))
	}
	var b bytes.Buffer // grows with what is read: the size is a claim
	if _, err := io.Copy(&b, io.NewSectionReader(f, 0, f.Size())); err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	// CompactOS leaves a hole as the content, and the compressed bytes elsewhere.
	if data := b.Bytes(); len(data) > 0 && len(bytes.TrimLeft(data, "\x00")) == 0 {
		return nil, fmt.Errorf("%w: %s reads as zeros (compact /u /exe takes that back)", ErrCompressed, from)
	}
	return b.Bytes(), nil
}
