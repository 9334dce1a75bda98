package kmod

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxModule bounds a decompressed module; the biggest of Debian is about 30 MiB.
const maxModule = 128 << 20

// Module is one kernel module, decompressed, and what its .modinfo section says.
type Module struct {
	Name     string   // as the kernel lists it, with '_'
	Path     string   // relative to lib/modules/VERSION, ends in ".ko"
	Depends  []string // names of modules whose symbols it uses
	SoftPre  []string // names of modules to be loaded before it if they exist
	Aliases  []string // patterns of the devices and names it serves
	Vermagic string   // release and options of the kernel it was built for
	Data     []byte   // the ELF file with its signature, if any
}

// Release is the kernel release that the module was built for.
func (m *Module) Release() string {
	release, _, _ := strings.Cut(m.Vermagic, " ")
	return release
}

func newModule(name, path string, data []byte) (*Module, error) {
	m := &Module{Name: name, Path: path, Data: data}
	info, err := modinfo(data)
	if err != nil {
		return nil, err
	}
	for _, record := range info {
		key, value, _ := strings.Cut(record, "=")
		m.set(key, value)
	}
	return m, nil
}

func (m *Module) set(key, value string) {
	switch key {
	case "depends":
		for d := range strings.SplitSeq(value, ",") {
			if d != "" {
				m.Depends = append(m.Depends, canonical(d))
			}
		}
	case "softdep":
		m.SoftPre = append(m.SoftPre, softPre(value)...)
	case "alias":
		m.Aliases = append(m.Aliases, value)
	case "vermagic":
		m.Vermagic = value
	}
}

// softPre returns the names after "pre:" of a softdep, up to "post:".
func softPre(value string) []string {
	var names []string
	pre := false
	for word := range strings.FieldsSeq(value) {
		switch {
		case strings.HasSuffix(word, ":"):
			pre = word == "pre:"
		case pre:
			names = append(names, canonical(word))
		}
	}
	return names
}

// modinfo returns the key=value records of the .modinfo section.
func modinfo(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, errors.New("no .modinfo section: not a kernel module")
	}
	b, err := s.Data()
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(string(b), func(r rune) bool { return r == 0 }), nil
}

// readModule returns the decompressed content of a module file.
func readModule(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := decompressor(f, filepath.Ext(path))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err == nil && len(b) > maxModule {
		err = fmt.Errorf("more than %d bytes", maxModule)
	}
	return b, err
}

func decompressor(r io.Reader, ext string) (io.Reader, error) {
	switch ext {
	case ".xz":
		return xz.NewReader(bufio.NewReader(r)) // it asks for single bytes
	case ".gz":
		return gzip.NewReader(r)
	case ".zst":
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	}
	return r, nil
}
