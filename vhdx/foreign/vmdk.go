package foreign

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const (
	sparseMark     = "KDMV"
	descriptorMark = "# Disk DescriptorFile"
	// maxDescriptor bounds the text that describes a disk, in bytes.
	maxDescriptor = 1 << 20
)

func isVMDK(f *file) bool { return f.at(0, sparseMark) || f.at(0, descriptorMark) }

// readVMDK reads a descriptor, or the header of a sparse file with the descriptor that is in it
// (VMware, Virtual Disk Format 5.0).
func readVMDK(f *file) (*Image, error) {
	if f.at(0, sparseMark) {
		return readSparse(f)
	}
	d, err := f.descriptor(0, min(f.size, maxDescriptor))
	if err != nil {
		return nil, err
	}
	if d.sectors == 0 {
		return nil, fmt.Errorf("%w: %s describes no extents", ErrDamaged, f.path)
	}
	i := &Image{Size: d.sectors * 512, driver: "vmdk"}
	for _, name := range d.files {
		path, err := beside(f.path, name)
		if err != nil {
			return nil, err
		}
		i.Files = append(i.Files, path)
	}
	return i, nil
}

// readSparse reads a disk in one file. The descriptor in it names the file as it was called when it
// was made; qemu-img does not follow that, unless the header says that it has no capacity.
func readSparse(f *file) (*Image, error) {
	b, err := f.bytes(0, 64)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	capacity, off, n := int64(le.Uint64(b[12:])), int64(le.Uint64(b[28:])), int64(le.Uint64(b[36:]))
	part := fmt.Errorf("%w: %s is a part of a VMDK: name its descriptor, the small text file", ErrNotWhole, f.path)
	switch {
	case off == 0:
		return nil, part
	case capacity <= 0 || capacity > 1<<48 || off < 0 || off > f.size/512 || n <= 0 || n > maxDescriptor/512:
		return nil, fmt.Errorf("%w: %s has %d sectors and a descriptor of %d at sector %d", ErrDamaged, f.path, capacity, n, off)
	}
	d, err := f.descriptor(off*512, n*512)
	if err != nil {
		return nil, err
	}
	switch len(d.files) {
	case 0:
		return nil, part
	case 1:
	default:
		return nil, fmt.Errorf("%w: %s is one file and describes %d", ErrDamaged, f.path, len(d.files))
	}
	return &Image{Size: capacity * 512, driver: "vmdk"}, nil
}

// descriptor is what is read of the text.
type descriptor struct {
	sectors int64
	files   []string // of the extents, each once
}

var extentLine = regexp.MustCompile(`^(RW|RDONLY|NOACCESS)\s+([0-9]+)\s+([A-Z0-9]+)(?:\s+"([^"]*)"(?:\s+[0-9]+)?)?\s*$`)

func (f *file) descriptor(off, n int64) (*descriptor, error) {
	b, err := f.bytes(off, int(n))
	if err != nil {
		return nil, err
	}
	d, path := &descriptor{}, f.path
	text, _, _ := strings.Cut(string(b), "\x00")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if key, value, ok := strings.Cut(line, "="); ok {
			parent := strings.EqualFold(strings.TrimSpace(key), "parentCID") && !strings.EqualFold(strings.TrimSpace(value), "ffffffff")
			if parent || strings.HasPrefix(strings.ToLower(key), "parentfilename") {
				return nil, fmt.Errorf("%w: %s is a snapshot: remove the snapshots in VMware (consolidate), which makes one disk of them", ErrNotWhole, path)
			}
			continue
		}
		if err := d.extent(line, path); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// extent reads a line that names a file. Any line that begins like one has to be one: what is not
// understood here, qemu-img might understand.
func (d *descriptor) extent(line, path string) error {
	words := strings.Fields(line)
	if len(words) == 0 || words[0] != "RW" && words[0] != "RDONLY" && words[0] != "NOACCESS" {
		return nil
	}
	m := extentLine.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("%w: %s has the line %q", ErrDamaged, path, line)
	}
	n, err := strconv.ParseInt(m[2], 10, 48)
	if err != nil {
		return fmt.Errorf("%w: %s has the line %q", ErrDamaged, path, line)
	}
	d.sectors += n
	switch m[3] {
	case "ZERO":
	case "FLAT", "SPARSE", "VMFS", "VMFSSPARSE", "SESPARSE":
		d.files = append(d.files, m[4])
	default:
		return fmt.Errorf("%w: %s has an extent of type %s", ErrUnsupported, path, m[3])
	}
	return nil
}
