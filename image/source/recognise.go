package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"troy/vhdx/foreign"
)

// Recognise tells what a file or folder is by its content; names and their ends do not count. The
// error is ErrUnknown, ErrEncrypted, one of package foreign, or that of reading.
func Recognise(path string) (Source, error) {
	if strings.HasPrefix(path, "-") || strings.HasPrefix(path, "@") {
		path = "./" + path // the programs would take it for something else
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		return folder(path)
	}
	head, err := readHead(path)
	if err != nil {
		return nil, err
	}
	has := func(off int, mark string) bool {
		return len(head) >= off+len(mark) && bytes.Equal(head[off:off+len(mark)], []byte(mark))
	}
	switch {
	case has(0, "vhdxfile"):
		return chain{path}, nil
	case has(0, wimMark), has(0, pipeMark):
		return wim{path}, nil
	case has(0, partcloneMark):
		return partclone{files: []string{path}}, nil
	case has(bootMarkAt, ntfsMark), has(bootMarkAt, bitLockerMark):
		return volume{path}, nil
	}
	if kind := discKind(head); kind != "" {
		return iso{path, kind}, nil
	}
	if s, err := recogniseRest(path, head); s != nil || err != nil {
		return s, err
	}
	return nil, fmt.Errorf("%w: %s", ErrUnknown, path)
}

// recogniseRest knows what has no mark at the start.
func recogniseRest(path string, head []byte) (Source, error) {
	i, err := foreign.Recognise(path)
	if err != nil {
		return nil, err
	}
	if i != nil {
		return converted{i}, nil
	}
	if mark, _ := compressed(head); mark != "" {
		p := partclone{files: []string{path}}
		_, err := p.header(context.Background())
		if err == nil || errors.Is(err, exec.ErrNotFound) {
			return p, err
		}
		return nil, fmt.Errorf("%w: %s is compressed and holds no partclone image: unpack it first", ErrUnknown, path)
	}
	if sector, err := foreign.SectorSize(bytes.NewReader(head)); sector != 0 || err != nil {
		return raw{path}, err
	}
	return nil, nil
}

// Installs tells whether a source is an installation medium, of which Options.Windows makes a disk.
func Installs(s Source) bool {
	_, ok := s.(interface{ installs() })
	return ok
}

// The volume descriptors of a disc, ECMA-167 3 and ISO 9660 6.
const (
	descriptorsAt  = 0x8000
	descriptorSize = 2048
	descriptors    = 32
)

func readHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, descriptorsAt+descriptors*descriptorSize)
	n, err := io.ReadFull(f, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return b[:n], err
}

// discKind returns how 7zz is to read a disc, "" for no disc. Microsoft's have both, and in ISO
// 9660 nothing but a text that says so.
func discKind(head []byte) string {
	kind := ""
	for at := descriptorsAt; at+6 <= len(head); at += descriptorSize {
		switch string(head[at+1 : at+6]) {
		case "NSR02", "NSR03":
			return "-tudf"
		case "CD001":
			kind = "-tiso"
		}
	}
	return kind
}
