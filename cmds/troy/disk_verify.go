package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/pcdisk"
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
	Different []jsonDiskSpan `json:"different"`         // ranges of 4 KiB pages, not all of them if there are many
	More      bool           `json:"more"`              // ranges were left out
}

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
	files, err := pcdisk.CheckChain(t.Files())
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		res.Files = append(res.Files, *newJSONCheck(f.Name, f.Report))
	}
	have, err := pcdisk.Chain(t.Files())
	if !session {
		have, err = m.Content()
	}
	if err != nil {
		return nil, err
	}
	return res, v.compare(ctx, res, have, want)
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

// compare reads the whole disk, and compares it if there is something to compare with.
func (v *vhdxCall) compare(ctx context.Context, r *jsonDiskVerify, have, want pcdisk.Content) error {
	meter := progress.New(v.stderr, "verifying", have.Size())
	c, err := pcdisk.Compare(ctx, have, want, meter)
	meter.Done()
	if errors.Is(err, pcdisk.ErrOtherSize) {
		return &fault{err: fmt.Errorf("%w: the machine's disk has %d bytes, %s has %d", errCheck, have.Size(), r.Against, want.Size())}
	}
	if err != nil {
		return err
	}
	r.Bytes, r.SHA256, r.More = c.Bytes, hex.EncodeToString(c.SHA256[:]), c.More
	for _, d := range c.Different {
		r.Different = append(r.Different, jsonDiskSpan(d))
	}
	r.OK = len(r.Different) == 0
	for _, f := range r.Files {
		r.OK = r.OK && f.OK
	}
	return nil
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
