package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"troy/image"
	"troy/image/publish"
	"troy/image/unattend"
	"troy/internal/errline"
	"troy/internal/guid"
	"troy/internal/progress"
	"troy/internal/space"
	"troy/vhdx"
)

// Source is a file or folder of which a disk can be made.
type Source interface {
	// Kind says what it is, in a word or two.
	Kind() string
	// Open makes it a disk to read; the caller closes it.
	Open(ctx context.Context, o *Options) (*Disk, error)
}

// Options tell how to open a source. VHDX and raw disks need none of them.
type Options struct {
	// Parents finds and notes the parents of a VHDX.
	Parents *vhdx.Parents
	// Scratch gives a folder for what has to be made before it can be read. What Open puts there
	// has no name any more when it returns.
	Scratch func() (string, error)
	// Progress shows how far each stage has come.
	Progress progress.Start
	// Windows says what to make of an installation medium.
	Windows Windows
}

// Windows is how a Windows is made of an installation medium.
type Windows struct {
	Edition string // its name or index; "": the only one
	Size    int64  // of the disk in bytes, a multiple of 1 MiB; 0: DefaultSize
	// AnswerFile is for setup; nil: one that Answers make.
	AnswerFile []byte
	Answers    unattend.Answers
	// Ask, if it is not nil, is asked for the answers in place of these, once the edition is known;
	// check tells whether they are possible.
	Ask func(e *Edition, check func(unattend.Answers) error) (unattend.Answers, error)
}

// DefaultSize is what Microsoft asks for Windows 11, in bytes.
const DefaultSize = 64 << 30

// Disk is an opened source: a disk to publish.
type Disk struct {
	*publish.Disk
	// Chain is the chain of VHDX files that the disk is; nil: another kind. Nothing tells what in
	// such a disk differs from a version: only reading all of both.
	Chain *vhdx.Chain
	// Notes are lines for people about what was found, and what was made of it.
	Notes []string

	closers []io.Closer
}

// Close closes all files.
func (d *Disk) Close() error {
	var err error
	for _, c := range d.closers {
		err = errline.Join(err, c.Close())
	}
	return err
}

func (d *Disk) note(format string, args ...any) {
	d.Notes = append(d.Notes, fmt.Sprintf(format, args...))
}

// Errors of Recognise and Open.
var (
	// ErrUnknown: nothing that a disk can be made of.
	ErrUnknown = errors.New("no disk, image or installation medium that Troy knows")
	// ErrNoWindows: an installation medium without a Windows, or one for other PCs.
	ErrNoWindows = errors.New("no Windows to install")
	// ErrCut: the file ends before what it holds.
	ErrCut = errors.New("the file is cut short")
	// ErrNoSpace: the disk that is made, or the folder for it, is too small.
	ErrNoSpace = space.ErrShort
	// ErrEncrypted: BitLocker encrypts the volume.
	ErrEncrypted = errors.New("the volume is encrypted by BitLocker: decrypt it first")
)

// newDisk makes a disk of what composes one; its identity is new.
func newDisk(r io.ReaderAt, size int64, sector uint32, data iter.Seq2[image.Range, error], closers ...io.Closer) *Disk {
	return &Disk{
		Disk:    &publish.Disk{Reader: r, Size: size, SectorSize: sector, DataWriteGUID: guid.New().String(), Data: data},
		closers: closers,
	}
}
