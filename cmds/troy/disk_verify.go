package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	machinedisk "troy/diskwriter/pcdisk"
	"troy/internal/progress"
	"troy/vhdx"
)

// jsonDiskVerify is what "disk verify --json" prints.
type jsonDiskVerify struct {
	Device    string         `json:"device"`
	OK        bool           `json:"ok"`
	State     *jsonDiskState `json:"state"`
	Files     []jsonCheck    `json:"files"` // of the chain, the boot child first
	Bytes     int64          `json:"bytes"` // that were read: the virtual disk
	SHA256    string         `json:"sha256"`
	Session   bool           `json:"session"`           // what Windows wrote since is in it
	Against   string         `json:"against,omitempty"` // FILE
	Different []jsonDiskSpan `json:"different"`         // ranges of 4 KiB pages, at most maxDifferent
	More      bool           `json:"more"`              // ranges were left out
}

// maxDifferent bounds how many ranges are listed.
const maxDifferent = 100

// verifyPiece is how many bytes are compared at once.
const verifyPiece = 1 << 20

func runDiskVerify(ctx context.Context, c *call) error {
	v := newVHDXCall(c)
	var parents paths
	against := v.fs.String("against", "", "raw image or VHDX `file` that the machine has to hold")
	v.fs.Var(&parents, "parent", "a `file` of the chain of --against, nearest first (default: the name in the child, in its own folder)")
	session := v.fs.Bool("session", false, "read what Windows wrote since, too; else the version below it")
	args, err := v.parse(v.fs, 1, 1)
	if err != nil {
		return err
	}
	res, err := v.verifyDisk(ctx, args[0], *against, parents, *session)
	if err != nil {
		return explainDisk(err, fateOf(nil))
	}
	if v.json {
		err = v.printJSON(res)
	} else {
		res.print(v.stdout)
	}
	if err == nil && !res.OK {
		err = fmt.Errorf("%w: %s has something wrong; %s", errCheck, clean(args[0]), fateOf(nil))
	}
	return err
}

func (v *vhdxCall) verifyDisk(ctx context.Context, path, against string, parents paths, session bool) (*jsonDiskVerify, error) {
	res := &jsonDiskVerify{Device: path, Against: against, Session: session, Files: []jsonCheck{}, Different: []jsonDiskSpan{}}
	want, err := openAgainst(against, parents)
	if err != nil {
		return nil, err
	}
	if want != nil {
		defer want.Close()
	}
	t, m, err := openMachine(v, path, &blockdev.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer t.Close()
	res.State = newJSONState(m.State())
	chain, err := machinedisk.Chain(t.Files())
	if err != nil {
		return nil, err
	}
	if err := res.checkFiles(t.Files(), chain); err != nil {
		return nil, err
	}
	if !session {
		if chain, err = m.Content(); err != nil {
			return nil, err
		}
	}
	if err := v.readAll(ctx, res, chain, want); err != nil {
		return nil, err
	}
	res.OK = len(res.Different) == 0
	for _, f := range res.Files {
		res.OK = res.OK && f.OK
	}
	return res, nil
}

// openAgainst returns nil for no file.
func openAgainst(path string, parents paths) (source, error) {
	if path == "" {
		if len(parents) > 0 {
			return nil, &usageError{"--parent is of no use without --against"}
		}
		return nil, nil
	}
	return openSource(path, &vhdx.Parents{Named: parents}, &jsonConvert{})
}

// checkFiles checks the files of the chain one by one.
func (r *jsonDiskVerify) checkFiles(f machine.Files, chain *vhdx.Chain) error {
	files := chain.Files()
	name, storage := machine.BootName, f.Boot
	for i, file := range files {
		var parent *vhdx.File
		if i+1 < len(files) {
			parent = files[i+1]
		}
		rep, err := vhdx.Check(storage, storage.Size, &vhdx.CheckOptions{Parent: parent})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.Files = append(r.Files, *newJSONCheck(name, rep))
		if parent == nil {
			break
		}
		if name, storage, err = machinedisk.Parent(f, file); err != nil {
			return err
		}
	}
	return nil
}

// readAll reads the whole disk, which finds what cannot be read, and compares it if there is something to compare with.
func (v *vhdxCall) readAll(ctx context.Context, r *jsonDiskVerify, have *vhdx.Chain, want source) error {
	if want != nil && want.Size() != have.Size() {
		return &fault{err: fmt.Errorf("%w: the machine's disk has %d bytes, %s has %d", errCheck, have.Size(), r.Against, want.Size())}
	}
	meter := progress.New(v.stderr, "verifying", have.Size())
	defer meter.Done()
	hash := sha256.New()
	a, b := make([]byte, verifyPiece), make([]byte, verifyPiece)
	for off := int64(0); off < have.Size(); off += verifyPiece {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(verifyPiece, have.Size()-off)
		if err := readFull(have, a[:n], off); err != nil {
			return fmt.Errorf("read the machine's disk at %d: %w", off, err)
		}
		hash.Write(a[:n])
		if want != nil {
			if err := readFull(want, b[:n], off); err != nil {
				return fmt.Errorf("read %s at %d: %w", r.Against, off, err)
			}
			r.compare(a[:n], b[:n], off)
		}
		meter.Add(n)
	}
	r.Bytes, r.SHA256 = have.Size(), hex.EncodeToString(hash.Sum(nil))
	return nil
}

func readFull(from io.ReaderAt, p []byte, off int64) error {
	n, err := from.ReadAt(p, off)
	if n == len(p) && errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// compare notes the pages that differ.
func (r *jsonDiskVerify) compare(a, b []byte, off int64) {
	if bytes.Equal(a, b) {
		return
	}
	const page = 4096
	for i := 0; i < len(a); i += page {
		end := min(i+page, len(a))
		if !bytes.Equal(a[i:end], b[i:end]) {
			r.differs(off+int64(i), int64(end-i))
		}
	}
}

func (r *jsonDiskVerify) differs(off, n int64) {
	if last := len(r.Different) - 1; last >= 0 && r.Different[last].Offset+r.Different[last].Length == off {
		r.Different[last].Length += n
	} else if len(r.Different) < maxDifferent {
		r.Different = append(r.Different, jsonDiskSpan{off, n})
	} else {
		r.More = true
	}
}

func (r *jsonDiskVerify) print(w io.Writer) {
	for _, f := range r.Files {
		f.print(w)
	}
	for _, d := range r.Different {
		fmt.Fprintf(w, "differs from %s: %d bytes at %d\n", clean(r.Against), d.Length, d.Offset)
	}
	if r.More {
		fmt.Fprintln(w, "and more")
	}
	fmt.Fprintf(w, "%s %s; %d bytes, sha256 %s\n", clean(r.Device), r.State, r.Bytes, r.SHA256)
	if r.OK && r.Against != "" {
		fmt.Fprintf(w, "equal to %s\n", clean(r.Against))
	}
}
