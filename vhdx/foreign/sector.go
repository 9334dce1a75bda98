package foreign

import "io"

// SectorSize tells the size of the sectors of a raw disk from where its partition table lies; 0: it has
// none. A disk with an MBR alone has 512 bytes.
func SectorSize(r io.ReaderAt) (uint32, error) {
	b := make([]byte, 4096+8)
	n, err := r.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return 0, err
	}
	b = b[:n]
	has := func(off int, mark string) bool {
		return len(b) >= off+len(mark) && string(b[off:off+len(mark)]) == mark
	}
	switch {
	case has(512, "EFI PART"):
		return 512, nil
	case has(4096, "EFI PART"):
		return 4096, nil
	case has(510, "\x55\xaa"):
		return 512, nil
	}
	return 0, nil
}
