package agent

import (
	"context"
	"errors"
	"fmt"

	"troy/agent/decide"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/install"
	"troy/image/trust"
	"troy/netfetch"
	"troy/server/protocol"
)

// store is the store that the order names, read through its signatures.
type store struct {
	o    *Options
	con  *console
	net  *network
	disk *disk
	rec  *records
	win  *windows
	src  *trust.Source // nil until it was opened

	// What the last plan found, for the step that it was for.
	plan    *image.Plan
	version *install.Version
	fetched *counter
	bare    *pcdisk.BareOptions
	path    string // of the disk to provision
}

// open joins the sources that order and command line name, and reads the signed metadata. What it
// returns is the only way to the store.
func (s *store) open(ctx context.Context, order *protocol.Order) (*trust.Source, error) {
	if s.src != nil {
		return s.src, nil
	}
	src, err := s.sources(order)
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	st, says, err := trust.Pinned(ctx, src, s.net.clock.bounded.Now(), &trust.PinnedOptions{
		Root: s.net.media.root, Memory: s.rec.trusted(), Built: s.net.media.built,
		NotFound: func(err error) bool { return errors.Is(err, netfetch.ErrNotFound) },
	})
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	s.con.say("trust: %s", says)
	s.src = st
	return st, nil
}

// sources are the servers, then the mirrors that the order names, under its limit of bytes per
// second.
func (s *store) sources(order *protocol.Order) (image.Source, error) {
	var src netfetch.Source
	src, err := s.net.servers.Sub(order.Repo)
	if err != nil {
		return nil, err
	}
	if len(order.Mirrors) > 0 {
		more, err := s.net.mirrors(order.Mirrors)
		if err != nil {
			return nil, fmt.Errorf("mirrors: %w", err)
		}
		if src, err = netfetch.NewMirrors(&netfetch.MirrorsOptions{GiveUpAfter: s.net.patience(), OnFailover: s.net.failover}, src, more); err != nil {
			return nil, err
		}
	}
	if rate := order.Rules.Rate; rate > 0 {
		src = netfetch.NewLimiter(rate).Wrap(src)
	}
	return src, nil
}

// ask finds out what going to a version by a step would take. What is refused is in the result; the
// error is for what could not be found out.
func (s *store) ask(ctx context.Context, order *protocol.Order, step decide.Step) (*decide.Planned, error) {
	src, err := s.open(ctx, order)
	if err != nil {
		return nil, err
	}
	p := &decide.Planned{For: step.For, Image: step.Image, Version: step.Version}
	if p.Unfit, err = otherVersion(ctx, src, order.Want, step); err != nil || p.Unfit != "" {
		return p, err
	}
	if !step.Begun {
		err := src.Allow(ctx, step.Image, s.rec.newest(step.Image), step.Version)
		if errors.Is(err, trust.ErrOrder) {
			p.Downgrade = err.Error()
			return p, nil
		}
		if err != nil {
			return nil, err
		}
	}
	switch step.For {
	case decide.Stage:
		s.plan, err = image.LoadLocalPlan(ctx, src, step.Image, s.disk.machine.State().Version, step.Version)
	case decide.Reinstall:
		err = s.askWhole(ctx, src, p)
	case decide.Provision:
		err = s.askBare(ctx, src, order, p)
	}
	return p, err
}

// otherVersion says that the store has another version of that number than the one that was
// ordered.
func otherVersion(ctx context.Context, src *trust.Source, want *protocol.Want, step decide.Step) (string, error) {
	if want == nil || want.Manifest == "" || want.Image != step.Image || want.Version != step.Version {
		return "", nil
	}
	index, err := image.LoadIndex(ctx, src, step.Image)
	if err != nil {
		return "", err
	}
	for _, e := range index.Versions {
		if have := e.Manifest.SHA256.String(); e.Version == step.Version && have != want.Manifest {
			return fmt.Sprintf("the server wants version %d of %s with the manifest %.12s…, the signed one is %.12s…", step.Version, step.Image, want.Manifest, have), nil
		}
	}
	return "", nil
}

// askWhole plans to write a version over the parent.
func (s *store) askWhole(ctx context.Context, src *trust.Source, p *decide.Planned) (err error) {
	s.fetched = &counter{}
	s.version, err = install.Open(ctx, src, p.Image, p.Version, &install.Options{Workers: s.o.Workers, Progress: s.fetched})
	if err != nil {
		return err
	}
	b, err := machine.ReadBase(s.disk.target.Files().Base)
	if err != nil {
		if s.disk.machine == nil { // a parent with a log to replay is Reinstall's business
			return nil
		}
		return err
	}
	if plan := s.version.Plan(); b.VirtualSize != plan.VirtualSize || b.LogicalSectorSize != plan.SectorSize {
		p.Unfit = fmt.Sprintf("%s version %d is a disk of %d bytes in sectors of %d, the machine was prepared for %d in sectors of %d: prepare it again",
			plan.Image, plan.Want, plan.VirtualSize, plan.SectorSize, b.VirtualSize, b.LogicalSectorSize)
	}
	return nil
}

// askBare plans to make a disk of the machine into one of Troy's: the size of the version, its boot
// files, and which disk.
func (s *store) askBare(ctx context.Context, src *trust.Source, order *protocol.Order, p *decide.Planned) error {
	plan, err := image.LoadPlan(ctx, src, p.Image, 0, p.Version)
	if err != nil {
		return err
	}
	if err := s.win.loadBootFiles(ctx, src, p.Image, p.Version); err != nil {
		return fmt.Errorf("boot files: %w", err)
	}
	pro := order.Permits.Provision
	s.bare = &pcdisk.BareOptions{
		Image: p.Image, Version: p.Version, VirtualSize: plan.VirtualSize, LogicalSectorSize: plan.SectorSize,
		SlotBytes: pro.SlotBytes, DataSize: max(pro.SystemBytes, 0),
	}
	disks, err := s.disk.all()
	if err != nil {
		return err
	}
	d, wipe, err := pcdisk.Choose(disks, &pcdisk.Order{
		Serial: pro.Serial, Wipe: pro.Wipe, Need: s.bare.Need(), SectorSize: s.bare.LogicalSectorSize,
		Permit: func(d pcdisk.DiskInfo) error { return src.MayWipe(ctx, s.names(), d.Serial, s.net.clock.bounded.Now()) },
	})
	switch {
	case errors.Is(err, pcdisk.ErrNotPermitted):
		p.Wipe = err.Error()
	case err != nil:
		p.Unfit = err.Error()
	default:
		s.bare.Wipe, s.path = wipe, d.Path
		s.con.say("provision: %s becomes this machine's disk, everything on it is erased", d)
	}
	return nil
}

// names are those by which a permission may name this machine.
func (s *store) names() []string {
	if id := s.net.id; id.UUID != "" {
		return append([]string{id.UUID}, id.MACs...)
	}
	return s.net.id.MACs
}
