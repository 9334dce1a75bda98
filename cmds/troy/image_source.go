package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"troy/image/publish"
	"troy/image/source"
	"troy/image/unattend"
	"troy/internal/cli"
	"troy/internal/errline"
	"troy/internal/progress"
	"troy/vhdx"
	"troy/vhdx/vhdxcmd"
)

// windowsFlags say what to make of an installation medium.
type windowsFlags struct {
	edition    string
	sizeGiB    float64
	answerFile string
	answers    unattend.Answers
	set        *pflag.FlagSet
}

// windowsFlagNames are those that installation media alone take.
var windowsFlagNames = []string{"edition", "size", "unattend", "language", "keyboard", "time-zone", "audit", "domain-join"}

func (w *windowsFlags) define(fs *pflag.FlagSet) {
	w.set = fs
	fs.StringVar(&w.edition, "edition", "", "the `edition` of an installation medium, by its number or name (default: the only one)")
	fs.Float64Var(&w.sizeGiB, "size", source.DefaultSize>>30, "size of the disk for an edition, in `GiB`; may have a fraction")
	fs.StringVar(&w.answerFile, "unattend", "", "an answer `file` for the setup of Windows, in place of the one that the flags below make")
	fs.StringVar(&w.answers.Language, "language", "", "`language` of Windows, such as de-DE (default: setup asks)")
	fs.StringVar(&w.answers.Keyboard, "keyboard", "", "`keyboard`, such as 0407:00000407 (default: that of the language)")
	fs.StringVar(&w.answers.TimeZone, "time-zone", "", "time `zone` as Windows names it, such as \"W. Europe Standard Time\"")
	fs.BoolVar(&w.answers.Audit, "audit", false, "start in audit mode, before the first user is made")
}

// Bounds of --size. What an edition needs at least, the source itself says.
const (
	leastGiB = 0.1
	mostGiB  = 2048
)

// given returns the flags that were given.
func (w *windowsFlags) given() (names []string) {
	for _, name := range windowsFlagNames {
		if w.set != nil && w.set.Changed(name) {
			names = append(names, "--"+name)
		}
	}
	return names
}

// answered tells whether a flag says what setup is to be answered.
func (w *windowsFlags) answered() bool {
	return w.answerFile != "" || w.answers != (unattend.Answers{})
}

// windows reads the answer file and checks what was said; secrets lets it hold some.
func (w *windowsFlags) windows(secrets bool) (source.Windows, error) {
	out := source.Windows{Edition: w.edition, Answers: w.answers}
	if !(w.sizeGiB >= leastGiB && w.sizeGiB <= mostGiB) {
		return out, cli.Usagef("--size %g: want %g to %d GiB", w.sizeGiB, leastGiB, mostGiB)
	}
	out.Size = int64(w.sizeGiB*1024) << 20
	if w.answerFile == "" {
		return out, nil
	}
	if w.answers != (unattend.Answers{}) {
		return out, cli.Usagef("--unattend names an answer file; --language, --keyboard, --time-zone, --audit and --domain-join are for one that is made")
	}
	b, err := os.ReadFile(w.answerFile)
	if err != nil {
		return out, err
	}
	found, err := unattend.Secrets(b)
	switch {
	case err != nil:
		return out, fmt.Errorf("%s: %w", w.answerFile, err)
	case len(found) > 0 && !secrets:
		return out, &cli.Fault{
			Err:    fmt.Errorf("%s holds secrets: %s", w.answerFile, strings.Join(found, ", ")),
			Advice: "everyone on the network can read what is published; empty them, or publish them all the same with --secrets-in-image",
		}
	}
	out.AnswerFile = b
	return out, nil
}

// openSource opens what is to be published. Files that are made for it lie in the store and have no
// name any more when it returns.
func (p *publishing) openSource(ctx context.Context, path string) (*source.Disk, error) {
	src, err := source.Recognise(path)
	if err != nil {
		return nil, err
	}
	scratch := publish.NewScratch(p.store)
	o := &source.Options{
		Parents: &vhdx.Parents{Named: p.parents}, Scratch: scratch.Dir,
		Progress: progress.On(p.Err),
	}
	if err := p.checkFlags(src, path); err != nil {
		return nil, err
	}
	if source.Installs(src) {
		if o.Windows, err = p.windows.windows(p.allowed.Secrets); err != nil {
			return nil, err
		}
		if tty := p.terminal(); tty != nil && !p.keys.yes && !p.windows.answered() {
			o.Windows.Ask = p.askAnswers(tty)
		}
	}
	disk, err := src.Open(ctx, o)
	if cerr := scratch.Close(); cerr != nil && err == nil {
		err = errline.Join(cerr, disk.Close())
	}
	if err != nil {
		return nil, p.showEditions(err)
	}
	if disk.Chain != nil {
		vhdxcmd.NoteChain(p.Streams, disk.Chain, o.Parents)
	}
	return disk, nil
}

// errLater: to look at such a source, files have to be made.
var errLater = errors.New("files have to be made first")

// tryFile finds what is wrong with a source as far as that shows without writing anything: that of
// a medium whose list of editions cannot be read, and of a disk that would not be published. It
// returns the editions of a medium.
func (p *publishing) tryFile(ctx context.Context, path string) ([]source.Edition, error) {
	src, err := source.Recognise(path)
	if err != nil {
		return nil, err
	}
	if err := p.checkFlags(src, path); err != nil {
		return nil, err
	}
	if source.Installs(src) {
		return source.Editions(ctx, path)
	}
	disk, err := src.Open(ctx, &source.Options{Parents: &vhdx.Parents{}, Scratch: func() (string, error) { return "", errLater }})
	if errors.Is(err, errLater) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer disk.Close()
	return nil, p.judge(disk, path)
}

// checkFlags refuses flags that say nothing about such a source.
func (p *publishing) checkFlags(src source.Source, path string) error {
	given := p.windows.given()
	switch {
	case source.Installs(src) && p.windows.set == nil:
		return fmt.Errorf("%s is an installation medium, of which 'image import' makes version 1 of an image", path)
	case !source.Installs(src) && len(given) > 0:
		return cli.Usagef("%s is for installation media, and %s is a %s", strings.Join(given, ", "), path, src.Kind())
	case src.Kind() != "VHDX" && len(p.parents) > 0:
		return cli.Usagef("--parent is for VHDX, and %s is a %s", path, src.Kind())
	}
	return nil
}

// showEditions lists the editions of which one has to be named.
func (p *publishing) showEditions(err error) error {
	var e *source.EditionError
	if !errors.As(err, &e) {
		return err
	}
	if p.json {
		if err := p.JSON(e.Editions); err != nil {
			return err
		}
	} else {
		for i := range e.Editions {
			fmt.Fprintln(p.Out, cli.Clean(e.Editions[i].String()))
		}
	}
	return cli.Usagef("%v", err)
}
