package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"troy/image"
	"troy/image/fields/find"
	"troy/image/publish"
	"troy/image/source"
	"troy/image/startable"
	"troy/image/trust/sign"
	"troy/image/unused"
	"troy/internal/cli"
	"troy/internal/progress"
)

// publishing is one import or add.
type publishing struct {
	*imageCall
	parents  cli.List
	noFilter bool
	compare  bool
	capture  string // host
	allowed  startable.Allowed
	windows  windowsFlags
	o        publish.Options
	keys     keyFlags
}

// define adds the flags of import and add.
func (p *publishing) define(cmd *cobra.Command) *cobra.Command {
	fs := cmd.Flags()
	fs.Var(&p.parents, "parent", "a parent `file` of a VHDX, nearest first (default: the file that each child names, in its own folder)")
	fs.BoolVar(&p.noFilter, "no-filter", false, "ship free clusters and page files as well: the version is then equal to the disk byte by byte")
	fs.BoolVar(&p.o.NoCopies, "no-copies", false, "ship moved pages as data, not as references: nothing is looked for in the parent")
	defineAllowed(fs, &p.allowed)
	fs.StringVar(&p.o.Note, "note", "", "a `text` of one line that lists and the status page show with the version, such as \"Office 2024\"")
	fs.IntVar(&p.o.Level, "level", publish.DefaultLevel, "compression `level`, 1 to 22")
	p.keys.define(fs)
	return p.withStoreJSON(cmd)
}

// defineAllowed adds the flags for what is else refused.
func defineAllowed(fs *pflag.FlagSet, a *startable.Allowed) {
	fs.BoolVar(&a.Unbootable, "force-unbootable", false, "publish a disk that no PC starts (never one that is encrypted, hibernated, joined to Entra ID or enrolled in an MDM)")
	fs.BoolVar(&a.Secrets, "secrets-in-image", false, "take answer files with passwords or keys, although everyone on the network can read what is published")
}

func newImport(s *cli.Streams) *cobra.Command {
	p := &publishing{imageCall: newImageCall(s)}
	cmd := leaf("import NAME FILE", "publish a disk, or a Windows from an installation medium, as version 1", p.runImport)
	p.windows.define(cmd.Flags())
	cmd.Flags().BoolVar(&p.windows.answers.Join, "domain-join", false, "leave room in the answers for what djoin makes of each PC; no PC may start without it")
	return p.define(cmd)
}

func (p *publishing) runImport(ctx context.Context, args []string) error {
	open := func() (*toPublish, error) { return p.openFile(ctx, args[1]) }
	return p.publish(ctx, open, func(d *source.Disk) (*image.Manifest, error) {
		return publish.Import(ctx, p.store, args[0], d.Disk, &p.o)
	})
}

func newAdd(s *cli.Streams) *cobra.Command {
	p := &publishing{imageCall: newImageCall(s)}
	cmd := leaf("add NAME [FILE]", "publish what a child, another disk or a golden PC changed as the next version", p.runAdd)
	cmd.Flags().StringVar(&p.capture, "capture", "", "in place of FILE: what the golden PC of that `host` name sent to the server of this store")
	cmd.Flags().BoolVar(&p.compare, "compare", false, "the VHDX is not a child of the version before: read and compare both in full, as for disks of other formats")
	return p.define(cmd)
}

func (p *publishing) runAdd(ctx context.Context, args []string) error {
	open := func() (*toPublish, error) { return p.openFile(ctx, args[1]) }
	switch {
	case (p.capture == "") == (len(args) < 2):
		return cli.Usagef("name either a FILE or --capture HOST")
	case p.capture != "" && (p.compare || p.noFilter || len(p.parents) > 0):
		return cli.Usagef("--compare, --parent and --no-filter are for files; the golden PC has compared and filtered already")
	case p.capture != "":
		open = func() (*toPublish, error) { return p.openCapture(ctx, args[0], p.capture) }
	}
	return p.publish(ctx, open, func(d *source.Disk) (*image.Manifest, error) {
		disk := d.Disk
		if p.capture == "" && (p.compare || d.Chain == nil) {
			below, err := image.OpenVersion(ctx, p.o.Before, args[0], 0)
			if err != nil {
				return nil, err
			}
			disk = publish.CompareDisk(disk, publish.VersionDisk(below))
		}
		return publish.Add(ctx, p.store, args[0], disk, &p.o)
	})
}

// toPublish is what is published.
type toPublish struct {
	*source.Disk
	name   string // for errors
	fields []image.Field
	notes  []string     // about the fields
	signed func() error // is called when the version is signed
	close  func() error
}

// openFile opens a file to be published.
func (p *publishing) openFile(ctx context.Context, path string) (*toPublish, error) {
	disk, err := p.openSource(ctx, path)
	if err != nil {
		return nil, explain(err, "nothing was published")
	}
	s := &toPublish{Disk: disk, name: path, signed: func() error { return nil }, close: disk.Close}
	s.fields, s.notes = find.Fields(disk.Reader, disk.Size, int(disk.SectorSize))
	return s, nil
}

// publish opens the subject, publishes it, signs what the store then holds and shows the figures.
func (p *publishing) publish(ctx context.Context, open func() (*toPublish, error), f func(*source.Disk) (*image.Manifest, error)) error {
	if p.o.Level < 1 || p.o.Level > 22 {
		return cli.Usagef("--level %d: want 1 to 22", p.o.Level)
	}
	if err := image.CheckNote(p.o.Note); err != nil {
		return cli.Usagef("--note: %v", err)
	}
	p.o.Time = time.Now()
	if err := p.open(); err != nil {
		return err
	}
	repo, err := p.signer(ctx, &p.keys)
	if err != nil {
		return err
	}
	if p.o.Before, err = repo.Source(ctx, p.store); err != nil {
		return trustFault(err)
	}
	s, err := open()
	if err != nil {
		return err
	}
	defer s.close()
	if err := p.judge(s.Disk, s.name); err != nil {
		return err
	}
	p.o.Fields, p.o.Notes = s.fields, append(p.o.Notes, s.notes...)
	m, err := p.publishDisk(s.Disk, f)
	if err != nil {
		return oneLine(err)
	}
	if _, err := repo.Sign(ctx, p.store, time.Now(), sign.VersionItem(m)); err != nil {
		return &cli.Fault{Err: err, Fate: fmt.Sprintf("%s version %d is in the store, but not signed: machines do not see it", m.Image, m.Version), Advice: keyAdvice(err)}
	}
	if p.json {
		err = p.JSON(m)
	} else {
		showFigures(p.Out, m)
	}
	if serr := s.signed(); serr != nil {
		p.Note("%s %d is published; %v", m.Image, m.Version, serr)
	}
	return err
}

// judge refuses a disk that no PC starts or should get, and notes what the manifest is to say of
// it.
func (p *publishing) judge(disk *source.Disk, path string) error {
	v := startable.Check(disk.Reader, disk.Size, int(disk.SectorSize))
	p.o.Setup, p.o.Notes = v.Setup, append(disk.Notes, v.Notes()...)
	err := v.Refused(p.allowed)
	var refused *startable.RefusedError
	if !errors.As(err, &refused) {
		return err
	}
	var flags []string
	need, possible := refused.Lacks()
	if need.Unbootable {
		flags = append(flags, "--force-unbootable")
	}
	if need.Secrets {
		flags = append(flags, "--secrets-in-image")
	}
	advice := strings.Join(flags, " ") + " publishes it all the same"
	if !possible {
		advice = ""
	}
	return &cli.Fault{Err: fmt.Errorf("%s: %w", path, err), Fate: "nothing was published", Advice: advice}
}

// publishDisk publishes an opened source under meters.
func (p *publishing) publishDisk(disk *source.Disk, f func(*source.Disk) (*image.Manifest, error)) (*image.Manifest, error) {
	p.o.Progress = progress.On(p.Err)
	if !p.noFilter {
		p.o.Filter = unused.Filter{}
	}
	p.o.Approve = p.approve
	return f(disk)
}

// approve asks before the version exists.
func (p *publishing) approve(m *image.Manifest) error {
	if p.keys.approved {
		return nil
	}
	if tty := p.terminal(); tty != nil && !p.keys.yes {
		showFigures(p.Err, m)
	}
	if err := p.keys.ask(p.call, fmt.Sprintf("publish and sign %s version %d? yes or no: ", m.Image, m.Version)); err != nil {
		return &cli.Fault{Err: err, Fate: "nothing was published"}
	}
	p.keys.approved = true
	return nil
}
