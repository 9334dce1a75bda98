package machine

import (
	"bytes"
	"fmt"
	"io"

	"troy/internal/block"
	"troy/internal/progress"
)

// Storage is where the bytes of one file are: mapped clusters of a block device, a plain file,
// memory. Every write that this package makes is whole 4 KiB pages at a multiple of 4 KiB, so that
// no write ever covers part of a physical sector; Sync returns when all earlier writes are durable.
// It must be safe for concurrent use.
type Storage interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// File is one file of \Troy\. It never changes its size: nothing here allocates or frees.
type File struct {
	Storage
	Size int64 // bytes
}

// Files are the five files of a machine.
type Files struct {
	Base    File // the parent, fixed
	LayerA  File // a slot
	LayerB  File // a slot
	Boot    File // the boot child, anchored
	Journal File // JournalSize bytes
}

// Names of the files in \Troy\, as parent locators spell them.
const (
	BaseName    = "base.vhdx"
	LayerAName  = "layer-a.vhdx"
	LayerBName  = "layer-b.vhdx"
	BootName    = "boot.vhdx"
	JournalName = "journal"
)

func report(p progress.Adder, n int64) {
	if p != nil {
		p.Add(n)
	}
}

// writeFull writes whole pages; a write that a storage cut short without an error is an error all
// the same.
func writeFull(f File, p []byte, off int64) error {
	if off%pageSize != 0 || len(p)%pageSize != 0 || off < 0 || off+int64(len(p)) > f.Size {
		return fmt.Errorf("write of %d bytes at %d of %d is not whole pages inside of the file", len(p), off, f.Size)
	}
	n, err := f.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return err
}

// changedPages yields the runs of pages in which want differs from what f holds at off, as offset
// and length in want. Pages that cannot be read are among them; the error says why.
func changedPages(f File, want []byte, off int64) (runs [][2]int, err error) {
	have := make([]byte, len(want))
	err = block.ReadFull(f, have, off)
	for at := 0; at < len(want); at += pageSize {
		page := have[at : at+pageSize]
		read := err == nil || block.ReadFull(f, page, off+int64(at)) == nil
		if read && bytes.Equal(page, want[at:at+pageSize]) {
			continue
		}
		if n := len(runs) - 1; n >= 0 && runs[n][0]+runs[n][1] == at {
			runs[n][1] += pageSize
			continue
		}
		runs = append(runs, [2]int{at, pageSize})
	}
	return runs, err
}

// writeChanged makes f hold want at off and writes only the pages that differ or cannot be read: a
// bad sector is often good again once it was written to.
func writeChanged(f File, want []byte, off int64) error {
	runs, _ := changedPages(f, want, off)
	for _, r := range runs {
		if err := writeFull(f, want[r[0]:r[0]+r[1]], off+int64(r[0])); err != nil {
			return err
		}
	}
	return nil
}
