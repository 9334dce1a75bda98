package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/internal/cli"
	"troy/internal/progress"
	"troy/vhdx"
	"troy/vhdx/vhdxcmd"
)

// jsonDiskVerify is what "disk verify --json" prints.
type jsonDiskVerify struct {
	Device    string            `json:"device"`
	OK        bool              `json:"ok"`
	State     *jsonDiskState    `json:"state"`
	Files     []vhdxcmd.Checked `json:"files"` // of the chain, the boot child first
	Bytes     int64             `json:"bytes"` // that were read: the virtual disk
	SHA256    string            `json:"sha256"`
	Session   bool              `json:"session"`           // what Windows wrote since is in it
	Against   string            `json:"against,omitempty"` // FILE
	Different []jsonDiskSpan    `json:"different"`         // ranges of 4 KiB pages, not all of them if there are many
	More      bool              `json:"more"`              // ranges were left out
}

// diskVerify is one "disk verify".
type diskVerify struct {
	*call
	against string
	parents cli.List
	session bool
}

func newDiskVerify(s *cli.Streams) *cobra.Command {
	v := &diskVerify{call: newCall(s)}
	cmd := leaf("verify DEVICE", "check the chain of files and read all of it", v.run)
	fs := cmd.Flags()
	fs.StringVar(&v.against, "against", "", "raw image or VHDX `file` that the machine has to hold")
	fs.Var(&v.parents, "parent", "a `file` of the chain of --against, nearest first (default: the name in the child, in its own folder)")
	fs.BoolVar(&v.session, "session", false, "also read the changes that Windows made")
	return v.withJSON(cmd)
}

func (v *diskVerify) run(ctx context.Context, args []string) error {
	res, err := v.verifyDisk(ctx, args[0])
	if err != nil {
		return explainDisk(err, fateOf(nil))
	}
	if v.json {
		err = v.JSON(res)
	} else {
		res.print(v.Out)
	}
	if err == nil && !res.OK {
		err = fmt.Errorf("%w: %s has something wrong; %s", cli.ErrCheck, cli.Clean(args[0]), fateOf(nil))
	}
	return err
}

func (v *diskVerify) verifyDisk(ctx context.Context, path string) (*jsonDiskVerify, error) {
	res := &jsonDiskVerify{Device: path, Against: v.against, Session: v.session, Files: []vhdxcmd.Checked{}, Different: []jsonDiskSpan{}}
	want, err := openAgainst(v.against, v.parents)
	if err != nil {
		return nil, err
	}
	if want != nil {
		defer want.Close()
	}
	t, m, err := openMachine(v.call, path, &blockdev.Options{ReadOnly: true})
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
		res.Files = append(res.Files, *vhdxcmd.NewChecked(f.Name, f.Report))
	}
	have, err := pcdisk.Chain(t.Files())
	if !v.session {
		have, err = m.Content()
	}
	if err != nil {
		return nil, err
	}
	return res, v.compare(ctx, res, have, want)
}

// openAgainst returns nil for no file.
func openAgainst(path string, parents cli.List) (vhdxcmd.Source, error) {
	if path == "" {
		if len(parents) > 0 {
			return nil, cli.Usagef("--parent is of no use without --against")
		}
		return nil, nil
	}
	return vhdxcmd.OpenSource(path, &vhdx.Parents{Named: parents})
}

// compare reads the whole disk, and compares it if there is something to compare with.
func (v *diskVerify) compare(ctx context.Context, r *jsonDiskVerify, have, want pcdisk.Content) error {
	meter := progress.New(v.Err, "verifying", have.Size())
	c, err := pcdisk.Compare(ctx, have, want, meter)
	meter.Done()
	if errors.Is(err, machine.ErrOtherSize) {
		return &cli.Fault{Err: fmt.Errorf("%w: the machine's disk has %d bytes, %s has %d", cli.ErrCheck, have.Size(), r.Against, want.Size())}
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
		f.Print(w)
	}
	for _, d := range r.Different {
		fmt.Fprintf(w, "differs from %s: %d bytes at %d\n", cli.Clean(r.Against), d.Length, d.Offset)
	}
	if r.More {
		fmt.Fprintln(w, "and more")
	}
	fmt.Fprintf(w, "%s %s; %d bytes, sha256 %s\n", cli.Clean(r.Device), r.State, r.Bytes, r.SHA256)
	if r.OK && r.Against != "" {
		fmt.Fprintf(w, "equal to %s\n", cli.Clean(r.Against))
	}
}
