package initramfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrKernel says that a file is not a Linux kernel image for x86.
var ErrKernel = errors.New("not a bzImage")

// Offsets of the x86 boot protocol (Documentation/arch/x86/boot.rst).
const (
	bootMagicOffset     = 0x202
	kernelVersionOffset = 0x20e // holds the string's offset less 0x200
)

// kernelRelease reads from a bzImage for which release of modules it asks,
// such as "6.12.117+deb12-amd64".
func kernelRelease(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("kernel: %w", err)
	}
	defer f.Close()
	release, err := readRelease(f)
	if err != nil {
		return "", fmt.Errorf("kernel %s: %w", path, err)
	}
	return release, nil
}

func readRelease(r io.ReaderAt) (string, error) {
	head := make([]byte, 16)
	if _, err := r.ReadAt(head, bootMagicOffset); err != nil || string(head[:4]) != "HdrS" {
		return "", ErrKernel
	}
	offset := int64(binary.LittleEndian.Uint16(head[kernelVersionOffset-bootMagicOffset:])) + 0x200
	version := make([]byte, 256)
	n, err := r.ReadAt(version, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	end := bytes.IndexAny(version[:n], " \x00")
	if end <= 0 {
		return "", fmt.Errorf("%w: no version string", ErrKernel)
	}
	return string(version[:end]), nil
}
