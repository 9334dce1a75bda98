package source

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"troy/internal/tool"
)

// The header of a WIM: its length, and where the place and length of the list of editions stand
// (rhXmlData; 7 bytes of length, one of flags, 8 of place).
const (
	wimHeader  = 208
	wimXMLAt   = 0x48
	mostWIMXML = 16 << 20
)

// errFound ends the reading of an archive whose list was read.
var errFound = errors.New("the list of editions was read")

// Editions returns what an installation medium holds, without writing a file: of an image of a disc
// the archive is read as it comes out, which takes seconds. A source that is no installation medium
// gives none. Errors: those of Recognise, ErrNoWindows, ErrCut, tool.Error.
func Editions(ctx context.Context, path string) ([]Edition, error) {
	src, err := Recognise(path)
	if err != nil {
		return nil, err
	}
	switch s := src.(type) {
	case wim:
		return editions(ctx, s.path)
	case iso:
		return s.editions(ctx)
	}
	return nil, nil
}

// Room is about how many bytes have to be free while a disk is made of an edition whose archive
// has that many.
func (e *Edition) Room(archive int64) int64 { return archive + volumeNeed(e.Bytes) }

// editions reads the list out of the archive on the medium, or its first part.
func (i iso) editions(ctx context.Context) ([]Edition, error) {
	files, err := i.list(ctx)
	if err != nil {
		return nil, err
	}
	first := slices.IndexFunc(files, func(m member) bool { return inside.FindStringSubmatch(m.name)[2] == "" })
	if first < 0 {
		return nil, fmt.Errorf("%w: %s has no sources/install.wim, .esd or .swm: it is no installation medium of Windows", ErrNoWindows, i.path)
	}
	l := &listReader{}
	err = tool.Run(ctx, &tool.Command{Name: "7zz", Args: []string{"e", "-so", "-bd", i.kind, "--", i.path, files[first].name}, Stdout: l})
	if !l.complete() {
		return nil, errors.Join(fmt.Errorf("%s: %w: %s", i.path, ErrCut, files[first].name), err)
	}
	return parseEditions(l.xml)
}

// listReader takes a WIM as it comes, and keeps its header and its list of editions.
type listReader struct {
	at       int64
	header   []byte
	xml      []byte
	from, to int64
}

func (l *listReader) complete() bool { return l.to > 0 && int64(len(l.xml)) == l.to-l.from }

// Write implements io.Writer. Once the list is there it fails: nobody needs the rest.
func (l *listReader) Write(p []byte) (int, error) {
	n := len(p)
	if missing := wimHeader - len(l.header); missing > 0 {
		l.header = append(l.header, p[:min(missing, len(p))]...)
		if len(l.header) == wimHeader {
			if err := l.place(); err != nil {
				return 0, err
			}
		}
	}
	if l.to > 0 {
		from, to := max(0, l.from-l.at), min(int64(n), l.to-l.at)
		if from < to {
			l.xml = append(l.xml, p[from:to]...)
		}
	}
	l.at += int64(n)
	if l.complete() {
		return n, errFound
	}
	return n, nil
}

// place reads where the list is.
func (l *listReader) place() error {
	if !bytes.HasPrefix(l.header, []byte(wimMark)) {
		return fmt.Errorf("%w: the archive of the medium is no WIM", ErrNoWindows)
	}
	size := int64(binary.LittleEndian.Uint64(l.header[wimXMLAt:]) & (1<<56 - 1))
	at := int64(binary.LittleEndian.Uint64(l.header[wimXMLAt+8:]))
	if size < 2 || size > mostWIMXML || at < wimHeader {
		return fmt.Errorf("%w: a list of editions of %d bytes at %d", ErrNoWindows, size, at)
	}
	l.from, l.to = at, at+size
	return nil
}

var _ io.Writer = (*listReader)(nil)
