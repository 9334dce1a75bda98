package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"troy/agent/decide"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/install"
	"troy/image/trust"
	"troy/internal/progress"
	"troy/internal/tlskey"
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
	boot *bootFiles
	site *site
	src  *trust.Source // nil until it was opened

	// What the last plan found, for the step that it was for.
	plan     *image.Plan
	compared *comparison // by Verify
	version  *install.Version
	fetched  *counter
	bare     *pcdisk.BareOptions
	path     string // of the disk to provision
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
	for {
		if s.src, err = s.trusted(ctx, src); err != nil || !s.lacks(ctx, order.Want) || !s.src.Behind() {
			return s.src, err
		}
	}
}

// lacks says that what is signed does not have the version that was ordered.
func (s *store) lacks(ctx context.Context, want *protocol.Want) bool {
	if want == nil {
		return false
	}
	index, err := image.LoadIndex(ctx, s.src, want.Image)
	if err == nil {
		_, err = index.Entry(want.Version)
	}
	return errors.Is(err, image.ErrNotFound)
}

// trusted reads the signed metadata of a source, and takes the list of servers in it.
func (s *store) trusted(ctx context.Context, src image.Source) (*trust.Source, error) {
	st, says, err := trust.Pinned(ctx, src, s.net.clock.bounded.Now(), &trust.PinnedOptions{
		Root: s.net.media.root, Memory: s.rec.trusted(), Built: s.net.media.built,
		NotFound: func(err error) bool { return errors.Is(err, netfetch.ErrNotFound) },
	})
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	s.con.say("trust: %s", says)
	s.site.take(st.Servers())
	return st, nil
}

// sources are the servers, then the mirrors that the order names, under its limit of bytes per
// second.
func (s *store) sources(order *protocol.Order) (image.Source, error) {
	servers, err := s.net.servers.Load().Sub(order.Repo)
	if err != nil {
		return nil, err
	}
	var src netfetch.Source = servers
	if len(order.Mirrors) > 0 {
		more, err := s.net.mirrors(order.Mirrors, tlskey.Unverified()) // what is signed needs no key
		if err != nil {
			return nil, fmt.Errorf("mirrors: %w", err)
		}
		if src, err = netfetch.NewMirrors(&netfetch.MirrorsOptions{GiveUpAfter: s.net.patience(), OnFailover: s.net.failover}, servers, more); err != nil {
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
	p := &decide.Planned{For: step.For, Image: step.Image, Version: step.Version, Boots: step.Boots}
	if p.Unfit, err = otherVersion(ctx, src, order.Want, step); err != nil || p.Unfit != "" {
		return p, err
	}
	if p.Unfit, err = s.fits(ctx, src, order, step); err != nil || p.Unfit != "" {
		return p, err
	}
	if ok, err := s.suits(ctx, src, order, p); !ok {
		return p, err
	}
	if ok, err := s.mayGoTo(ctx, src, order, step, p); !ok {
		return p, err
	}
	switch step.For {
	case decide.Stage:
		err = s.askChange(ctx, src, p)
	case decide.Adopt:
		s.plan, err = s.compared.version.Bring(ctx, &s.compared.found)
	case decide.Reinstall:
		err = s.askWhole(ctx, src, p)
	case decide.Provision:
		err = s.askBare(ctx, src, order, p)
	}
	return p, err
}

// askChange plans to go from the version on the disk to another one by what changed between them: if
// this store has both.
func (s *store) askChange(ctx context.Context, src *trust.Source, p *decide.Planned) error {
	have := s.disk.machine.State()
	own, err := numbered(ctx, src, have.Image, have.Version)
	if err != nil {
		return err
	}
	if own == nil || own.Manifest != have.Manifest {
		p.Foreign = true
		return nil
	}
	s.plan, err = image.LoadLocalPlan(ctx, src, p.Image, have.Version, p.Version)
	return err
}

// numbered is what the store calls by that number; nil: nothing.
func numbered(ctx context.Context, src image.Source, name string, version int) (*protocol.Want, error) {
	if name == "" || version == 0 {
		return nil, nil
	}
	index, err := image.LoadIndex(ctx, src, name)
	if errors.Is(err, image.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e, err := index.Entry(version)
	if err != nil {
		return nil, nil
	}
	return &protocol.Want{Image: name, Version: version, Manifest: e.Manifest.SHA256.String()}, nil
}

// otherVersion says that the store has another version of that number than the one that was
// ordered.
func otherVersion(ctx context.Context, src *trust.Source, want *protocol.Want, step decide.Step) (string, error) {
	if want == nil || want.Image != step.Image || want.Version != step.Version {
		return "", nil
	}
	is, err := numbered(ctx, src, step.Image, step.Version)
	if err != nil || is == nil || is.Manifest == want.Manifest {
		return "", err
	}
	return fmt.Sprintf("the server wants version %d of %s with the manifest %.12s…, the signed one is %.12s…", step.Version, step.Image, want.Manifest, is.Manifest), nil
}

// suits compares the size of a version's disk with the one that the machine was made for: nothing
// grows in place. What is larger comes by making the disk once more, which takes a permit to wipe
// it.
func (s *store) suits(ctx context.Context, src image.Source, order *protocol.Order, p *decide.Planned) (ok bool, err error) {
	var have machine.State
	if s.disk.machine != nil {
		have = s.disk.machine.State()
	}
	if have.VirtualSize == 0 {
		return true, nil // a new disk, or one whose size nothing tells: what writes to it looks
	}
	m, err := image.LoadManifest(ctx, src, p.Image, p.Version)
	if err != nil {
		return false, err
	}
	if m.VirtualSize <= have.VirtualSize || m.SectorSize != have.LogicalSectorSize {
		return true, nil
	}
	p.Outgrew = true
	if p.For == decide.Provision {
		return true, nil
	}
	p.Lacks = fmt.Sprintf("%s version %d is a disk of %d bytes, this machine was made for %d, and nothing grows in place: its disk has to be wiped and provisioned", p.Image, p.Version, m.VirtualSize, have.VirtualSize)
	p.Permit = s.wiping(order, s.disk.serial())
	return false, nil
}

// wiping is what the admin tells "troy permit" so that the machine's disk may be wiped.
func (s *store) wiping(order *protocol.Order, serial string) string {
	if serial == "" {
		return fmt.Sprintf("%s %s", trust.Wipe, cmp.Or(order.Name, "HOST"))
	}
	return fmt.Sprintf("%s --disk %q", trust.Wipe, serial)
}

// askWhole plans to write a version over the parent.
func (s *store) askWhole(ctx context.Context, src *trust.Source, p *decide.Planned) (err error) {
	s.fetched = &counter{}
	s.version, err = install.Open(ctx, src, p.Image, p.Version, &install.Options{Workers: s.o.Workers, Progress: s.fetched})
	if err != nil {
		return err
	}
	err = machine.CheckReinstall(s.disk.target.Files(), s.version.Order())
	if errors.Is(err, machine.ErrOtherSize) || errors.Is(err, machine.ErrChain) {
		p.Unfit = fmt.Sprintf("%s version %d: %v", p.Image, p.Version, err)
		return nil
	}
	return err
}

// askBare plans to make a disk of the machine into one of Troy's: the size of the version, its boot
// files, and which disk.
func (s *store) askBare(ctx context.Context, src *trust.Source, order *protocol.Order, p *decide.Planned) error {
	plan, err := image.LoadPlan(ctx, src, p.Image, 0, p.Version)
	if err != nil {
		return err
	}
	pro := order.Permits.Provision
	s.bare = &pcdisk.BareOptions{
		Image: p.Image, Version: p.Version, Manifest: order.Want.Manifest, VirtualSize: plan.VirtualSize, LogicalSectorSize: plan.SectorSize,
		SlotBytes: pro.SlotBytes, DataSize: max(pro.SystemBytes, 0), Key: encoded(s.site.key),
	}
	disks, err := s.disk.all()
	if err != nil {
		return err
	}
	if p.Outgrew && len(disks) > 1 { // another one would be a second disk of Troy's
		disks = slices.DeleteFunc(disks, func(d pcdisk.DiskInfo) bool { return d.Path != s.disk.target.Device.Path() })
	}
	serial := "" // of the disk for which a permit was asked
	choose := func() (pcdisk.DiskInfo, bool, error) {
		return pcdisk.Choose(disks, &pcdisk.Order{
			Serial: pro.Serial, Wipe: pro.Wipe, Need: s.bare.Need(), SectorSize: s.bare.LogicalSectorSize,
			Permit: func(d pcdisk.DiskInfo) error {
				serial = d.Serial
				return s.permitted(ctx, src, trust.Use{Scope: trust.Wipe, Disk: serial})
			},
		})
	}
	d, wipe, err := choose()
	if errors.Is(err, pcdisk.ErrNoSpace) {
		taken, terr := install.SlotTaken(ctx, src, p.Image, p.Version)
		if terr != nil {
			return terr
		}
		s.bare = s.bare.Smaller(taken)
		if d, wipe, err = choose(); err == nil {
			s.bare.Grow(d.Size)
			s.con.say("provision: the disk is small: each slot takes %s of changes", progress.Bytes(s.bare.SlotBytes))
		}
	}
	switch {
	case errors.Is(err, pcdisk.ErrNotPermitted):
		if p.Lacks = err.Error(); p.Outgrew {
			p.Lacks = fmt.Sprintf("this machine was made for a smaller disk than that of %s version %d; %s", p.Image, p.Version, p.Lacks)
		}
		if serial != "" || p.Outgrew { // then the machine has a key that lasts
			p.Permit = s.wiping(order, serial)
		}
	case err != nil:
		p.Unfit = err.Error()
	default:
		if err := s.boot.load(ctx, src, p.Image, p.Version, d.Path); err != nil {
			return fmt.Errorf("boot files: %w", err)
		}
		s.bare.Wipe, s.path = wipe, d.Path
		s.con.say("provision: %s becomes this machine's disk, everything on it is erased", d)
	}
	return nil
}

// mayGoTo asks for the permits that going to a version by a step takes: to go below the newest
// version that the machine ever had, and to write over one that starts. What was begun was permitted
// then. Where one is missing, that is in the plan.
func (s *store) mayGoTo(ctx context.Context, src *trust.Source, order *protocol.Order, step decide.Step, p *decide.Planned) (ok bool, err error) {
	var uses []trust.Use
	if !step.Begun && step.Version < s.rec.newest(step.Image) {
		uses = append(uses, trust.Use{Scope: trust.Downgrade, Image: step.Image, Version: step.Version})
	}
	if step.Boots {
		uses = append(uses, trust.Use{Scope: trust.Reinstall})
	}
	for _, u := range uses {
		u.Disk = s.disk.serial()
		err := s.permitted(ctx, src, u)
		if errors.Is(err, trust.ErrPermit) {
			p.Lacks, p.Permit = err.Error(), fmt.Sprintf("%s %s", u.Scope, cmp.Or(order.Name, "HOST"))
			if u.Scope == trust.Downgrade {
				p.Permit += fmt.Sprintf(" --to %s@%d", u.Image, u.Version)
			}
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// permitted asks for a permit, for this machine by its own key: whatever a server calls it, it can
// be no other one.
func (s *store) permitted(ctx context.Context, src *trust.Source, u trust.Use) (err error) {
	if u.Key, err = s.site.key.Name(); err != nil {
		return err
	}
	return src.Permitted(ctx, u, s.net.clock.bounded.Now())
}
