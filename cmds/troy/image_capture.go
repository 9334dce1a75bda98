package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"troy/image"
	"troy/image/golden"
	"troy/image/source"
	"troy/internal/cli"
	"troy/internal/errline"
	"troy/internal/progress"
	"troy/server/inbox"
	"troy/server/servedir"
)

// openCapture opens what a golden PC sent, shows what it changed, and clears what is the PC's own.
func (p *publishing) openCapture(ctx context.Context, name, host string) (*toPublish, error) {
	dir := servedir.Of(p.dir).Inbox()
	info, err := p.chooseCapture(dir, name, host)
	if err != nil {
		return nil, err
	}
	f, err := inbox.Open(dir, info.ID)
	if err != nil {
		return nil, err
	}
	s, err := p.capturedDisk(ctx, f)
	if err != nil {
		return nil, errline.Join(captureFault(err, filepath.Join(dir, info.ID), host), f.Close())
	}
	s.name, s.close = "the capture of "+host, f.Close
	s.signed = func() error { return inbox.Remove(dir, info.ID) }
	return s, nil
}

// chooseCapture returns the newest capture of a golden PC, if it is finished and of that image.
func (p *publishing) chooseCapture(dir, name, host string) (*inbox.Info, error) {
	list, err := inbox.List(dir)
	if err != nil {
		return nil, err
	}
	var found *inbox.Info
	for i := range list {
		switch {
		case !strings.EqualFold(list[i].Host, host):
		case found == nil:
			found = &list[i]
		default:
			p.Note("%s: an older capture of %s, which is not used", filepath.Join(dir, list[i].ID), host)
		}
	}
	switch {
	case found == nil:
		return nil, fmt.Errorf("there is no capture of %s in %s", host, dir)
	case found.Err != nil:
		return nil, fmt.Errorf("the capture of %s: %w", host, found.Err)
	case found.Session.Image != name:
		return nil, fmt.Errorf("the capture of %s changed the image %s, not %s", host, found.Session.Image, name)
	case !found.Finished:
		return nil, fmt.Errorf("%w: %s has sent %s of it, and goes on at its next start", inbox.ErrUnfinished, host,
			progress.Bytes(found.Totals.Data*image.PageSize))
	}
	return found, nil
}

// capturedDisk reviews a capture and makes it a disk to publish.
func (p *publishing) capturedDisk(ctx context.Context, f *inbox.Finished) (*toPublish, error) {
	if err := f.Verify(ctx, progress.On(p.Err)); err != nil {
		return nil, err
	}
	d, err := golden.Open(ctx, p.o.Before, &f.Capture)
	if err != nil {
		return nil, err
	}
	review, err := d.Review(ctx)
	if err != nil {
		return nil, err
	}
	out := p.Out
	if p.json {
		out = p.Err
	}
	showReview(out, &f.Whose, review)
	s := &toPublish{Disk: &source.Disk{Disk: d.Publish()}}
	s.fields, s.notes, err = d.Clear()
	return s, err
}

// captureFault says what helps against an error of a capture.
func captureFault(err error, folder, host string) error {
	advice := ""
	switch {
	case errors.Is(err, golden.ErrBase):
		advice = fmt.Sprintf("bring %s to the newest version, repeat the changes there and capture it again", host)
	case errors.Is(err, golden.ErrClear):
		advice = fmt.Sprintf("mend it in the Windows of %s and capture it again", host)
	case errors.Is(err, inbox.ErrDamaged):
		advice = fmt.Sprintf("remove %s, and let %s send it again", folder, host)
	}
	return &cli.Fault{Err: err, Fate: "nothing was published", Advice: advice}
}

// showReview prints what a golden PC changed.
func showReview(w io.Writer, whose *inbox.About, r *golden.Review) {
	fmt.Fprintf(w, "capture of %s, on %s version %d: changed %s in %d files, dropped as free %s\n", cli.Clean(whose.Host), whose.Session.Image,
		whose.Session.Version, progress.Bytes(r.Bytes), r.Count, progress.Bytes(r.Dropped))
	for _, part := range []struct {
		title string
		list  []golden.Changed
	}{{"folders", r.Folders}, {"files", r.Files}} {
		for i, c := range part.list {
			title := ""
			if i == 0 {
				title = part.title + ":"
			}
			fmt.Fprintf(w, "  %-10s %10s  %s\n", title, progress.Bytes(c.Bytes), cli.Clean(c.Path))
		}
	}
	if r.Elsewhere > 0 {
		fmt.Fprintf(w, "  %-10s %10s\n", "elsewhere:", progress.Bytes(r.Elsewhere))
	}
	for i := range r.Programs {
		fmt.Fprintf(w, "  program    %s\n", cli.Clean(r.Programs[i].String()))
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "  %s\n", cli.Clean(note))
	}
}
