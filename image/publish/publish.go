package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"troy/image"
	"troy/image/internal/fault"
	"troy/image/internal/layer"
	"troy/image/internal/pages"
	"troy/internal/progress"
)

// Filter finds the parts of a disk that nothing uses: free clusters, page files.
type Filter interface {
	// Unused returns ranges of the disk in bytes, in any order, and lines for people about what it
	// looked into. Only whole pages within them count. An error stops the publishing: a volume that
	// must not be published at all.
	Unused(ctx context.Context, disk io.ReaderAt, size int64, sectorSize uint32) (unused []image.Range, notes []string, err error)
}

// Options are the options of Import and Add. The zero value is right.
type Options struct {
	// Level is that of zstd, 1 to 22; 0 means DefaultLevel. (Four grades are behind the numbers:
	// 1-2, 3-5, 6-9, 10-22.)
	Level int
	// Workers is how many pages and chunks are worked on at once; 0 means one per core. It does not
	// change the result.
	Workers int
	// Filter finds unused pages; nil means that every page counts.
	Filter Filter
	// NoCopies ships new pages whose content stands elsewhere in the version below, instead of
	// telling where. Without it regions of the parent in which something is found are read and hashed.
	NoCopies bool
	// Before is where the versions that are there already are read; nil = the store. A caller who
	// signs what is published passes a view that lets nothing else than what was signed pass: a
	// version must not stand on one that a thief put into the store.
	Before image.Source
	// Approve is asked before the version exists; nil agrees. On an error nothing is published.
	Approve func(*image.Manifest) error
	// Setup says that the setup of the Windows on the disk has not run to its end.
	Setup bool
	// Fields are the places of what is a machine's own, as the disk has them.
	Fields []image.Field
	// Time and Note are what the manifest says of when it was published and by way of explanation.
	Time time.Time
	Note string
	// Notes are lines for people that the manifest is to hold, before those of the filter.
	Notes []string
	// Progress shows how far each stage has come, in bytes of the disk that are read. What a stage
	// reads is known when it begins, and a stage that succeeds ends at exactly that.
	Progress progress.Start
}

func (o *Options) level() int { return cmp.Or(o.Level, DefaultLevel) }

func (o *Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// Import makes version 1 of a new image: all pages that are not zeros. It returns image.ErrExists
// if the image is there already, ErrInvalid for a name or a disk that cannot be, ErrBusy while
// another process publishes. On any error the store is as before.
func Import(ctx context.Context, s *image.Store, name string, disk *Disk, o *Options) (*image.Manifest, error) {
	return on(s).first(ctx, name, disk, o)
}

func (s *store) first(ctx context.Context, name string, disk *Disk, o *Options) (*image.Manifest, error) {
	p, err := s.begin(name, disk, o)
	if err != nil {
		return nil, err
	}
	defer p.unlock()
	switch x, err := image.LoadIndex(ctx, p.before(), name); {
	case err == nil && len(x.Versions) > 0:
		return nil, fmt.Errorf("%w: %s has version %d; a further version is added to it", image.ErrExists, name, x.Latest())
	case err == nil:
		p.index = x
	case errors.Is(err, image.ErrNotFound):
		p.index = &image.Index{Image: name, Next: 1}
	default:
		return nil, err
	}
	return p.publish(ctx)
}

// Add makes the next version of an image from a disk that stands on the newest one: what is equal
// is dropped. The disk may have grown: such a version comes to no machine that was made for a
// smaller one, see image.ErrOtherSize. It returns a ParentError (ErrWrongParent) if the disk stands
// on something else, image.ErrNotFound for an unknown image, and what Import returns. On any error
// the store is as before.
func Add(ctx context.Context, s *image.Store, name string, child *Disk, o *Options) (*image.Manifest, error) {
	return on(s).add(ctx, name, child, o)
}

func (s *store) add(ctx context.Context, name string, child *Disk, o *Options) (*image.Manifest, error) {
	p, err := s.begin(name, child, o)
	if err != nil {
		return nil, err
	}
	defer p.unlock()
	if p.index, err = image.LoadIndex(ctx, p.before(), name); err != nil {
		return nil, err
	}
	latest := p.index.Latest()
	if latest == 0 {
		return nil, fmt.Errorf("%w: %s has no version to add to; import one first", image.ErrNotFound, name)
	}
	if p.below, err = image.LoadManifest(ctx, p.before(), name, latest); err != nil {
		return nil, err
	}
	if p.below.VirtualSize > child.Size || p.below.SectorSize != child.SectorSize {
		return nil, fault.Invalidf("%s version %d is a disk of %d bytes with sectors of %d, the child of %d with %d; an image never shrinks: 'troy image import' publishes it under another name",
			name, latest, p.below.VirtualSize, p.below.SectorSize, child.Size, child.SectorSize)
	}
	if p.parentMap, err = image.LoadMap(ctx, p.before(), name, latest); err != nil {
		return nil, err
	}
	if err := p.since(child); err != nil {
		return nil, err
	}
	return p.publish(ctx)
}

// publication is one Import or Add under way.
type publication struct {
	s         *store
	o         Options
	name      string
	disk      *Disk
	unlock    func()
	index     *image.Index
	below     *image.Manifest // nil for version 1
	parentMap *image.Map
	delta     *Delta
	places    *placesWriter // of the new version; nil: those of the version below are not known
}

func (s *store) begin(name string, disk *Disk, o *Options) (*publication, error) {
	if err := image.CheckName(name); err != nil {
		return nil, err
	}
	if err := pages.CheckDisk(disk.Size); err != nil {
		return nil, err
	}
	if disk.SectorSize != 512 && disk.SectorSize != 4096 {
		return nil, fault.Invalidf("disk with sectors of %d bytes", disk.SectorSize)
	}
	if o == nil {
		o = &Options{}
	}
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	if err := s.clean(packName, journalName); err != nil {
		unlock()
		return nil, err
	}
	return &publication{s: s, o: *o, name: name, disk: disk, unlock: unlock}, nil
}

// before is where the versions that are there already are read.
func (p *publication) before() image.Source {
	if p.o.Before != nil {
		return p.o.Before
	}
	return p.s
}

func (p *publication) parentError(region int64) error {
	return &ParentError{Image: p.name, Version: p.below.Version, Want: p.below.DataWriteGUID, Have: p.disk.Parents, Region: region}
}

func (p *publication) since(child *Disk) (err error) {
	if child.Since != nil {
		p.delta, err = child.Since(p.below.DataWriteGUID)
	}
	if err == nil && p.delta == nil {
		err = p.parentError(-1)
	}
	return err
}

// publish scans the disk and stores pack, table, map, manifest and index, in this order. Only the
// last makes the version exist.
func (p *publication) publish(ctx context.Context) (*image.Manifest, error) {
	m := &image.Manifest{
		Image: p.name, Version: p.index.Next, VirtualSize: p.disk.Size, SectorSize: p.disk.SectorSize,
		DataWriteGUID: p.disk.DataWriteGUID, Setup: p.o.Setup, Fields: p.o.Fields, Note: p.o.Note,
	}
	if !p.o.Time.IsZero() {
		m.Published = p.o.Time.UTC().Truncate(time.Second)
	}
	if p.below != nil {
		m.Parent = p.below.Version
	}
	scan, err := p.prepare(ctx, m)
	if scan != nil {
		defer func() { scan.places.close() }()
	}
	if err != nil {
		return nil, p.explain(err)
	}
	t, regionMap, err := p.pack(ctx, scan, m)
	defer p.places.discard()
	if err != nil {
		return nil, p.explain(err)
	}
	if note := searchNote(m.Figures); note != "" && p.delta != nil && !p.o.NoCopies {
		m.Notes = append(m.Notes, note)
	}
	b := t.Marshal()
	if len(b) > layer.MaxSize {
		return nil, fault.Invalidf("the layer table would be %d bytes, allowed are %d", len(b), layer.MaxSize)
	}
	m.Figures.Packed, m.Figures.Table = m.Pack.Size, int64(len(b))
	if m.Table, err = p.s.putObject(image.KindTable, b); err != nil {
		return nil, err
	}
	if b, err = regionMap.Encode(); err != nil {
		return nil, err
	}
	if m.Map, err = p.s.putObject(image.KindMap, b); err != nil {
		return nil, err
	}
	regions := len(regionMap.Sums)
	// What clients will read is read here first. Table and map can go meanwhile.
	if err := m.Check(ctx, p.s); err != nil {
		return nil, p.explain(err)
	}
	if err := ctx.Err(); err != nil {
		return nil, interrupted(err)
	}
	if p.o.Approve != nil {
		if err := p.o.Approve(m); err != nil {
			return nil, err
		}
	}
	if p.places != nil {
		if err := p.places.finish(m, regions); err != nil {
			return nil, err
		}
	}
	if err := p.s.putManifest(p.index, m); err != nil {
		return nil, err
	}
	return m, nil
}

// explain completes an error from the scan, which does not know the image.
func (p *publication) explain(err error) error {
	var pe *ParentError
	if errors.As(err, &pe) && pe.Image == "" {
		return p.parentError(pe.Region)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return interrupted(err)
	}
	return err
}

func interrupted(err error) error {
	return fmt.Errorf("image: interrupted, nothing was published; the same command goes on where it was: %w", err)
}

// prepare finds out which pages are unused, which have changed, and which stand elsewhere.
func (p *publication) prepare(ctx context.Context, m *image.Manifest) (*scan, error) {
	var unused pages.Set
	if p.below != nil && p.below.VirtualSize < m.VirtualSize {
		m.Notes = append(m.Notes, fmt.Sprintf("the disk has grown from %s to %s, and nothing grows in place: a PC made for the smaller one keeps what it has until you permit a wipe ('troy permit wipe'), and its room allows provisioning",
			progress.Bytes(p.below.VirtualSize), progress.Bytes(m.VirtualSize)))
	}
	for _, n := range p.o.Notes {
		m.Notes = append(m.Notes, strings.ToValidUTF8(n, "?"))
	}
	if p.o.Filter != nil {
		ranges, notes, err := p.o.Filter.Unused(ctx, p.disk.Reader, p.disk.Size, p.disk.SectorSize)
		if err != nil {
			return nil, err
		}
		for _, n := range notes {
			m.Notes = append(m.Notes, strings.ToValidUTF8(n, "?"))
		}
		if unused, err = image.WholePages(ranges, p.disk.Size); err != nil {
			return nil, err
		}
	}
	s, err := newScan(p.disk, p.delta, p.parentMap, unused)
	if err == nil && p.below != nil {
		s.places, err = p.s.openPlaces(p.below, p.parentMap, s.zeroSum)
	}
	if err == nil && p.delta != nil && !p.o.NoCopies {
		s.copies, err = s.findCopies(ctx, p.o.workers(), p.o.Progress, p.s)
	}
	if err == nil {
		err = s.checkRoom(ctx, p.s)
	}
	return s, err
}

// pack scans and writes the pack; it returns the table and the map of the new version.
func (p *publication) pack(ctx context.Context, s *scan, m *image.Manifest) (*layer.Table, *image.Map, error) {
	w, err := newLayerWriter(ctx, p.s, p.disk.Size, p.o.level(), p.o.workers())
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		w.abort()
		if ctx.Err() != nil {
			w.pack.keep()
		}
		w.pack.discard()
	}()
	if s.delta == nil || s.places != nil {
		if p.places, err = p.s.newPlaces("places", s.places); err != nil {
			return nil, nil, err
		}
	}
	regionMap := newMapOn(p.parentMap, p.disk.Size)
	var defined, undefined pages.Set
	take := func(f *found) error {
		regionMap.Sums[f.region] = f.sum
		first := f.region * pages.PerRegion
		defined.Push(first, first+s.length(f.region)/image.PageSize)
		for _, u := range f.undefined {
			undefined.Push(u.Lo, u.Hi)
		}
		addFigures(&m.Figures, &f.figures)
		if p.places != nil {
			if f.sum == s.zeroSum {
				f.hashes = nil
			}
			if err := p.places.add(f.region, f.hashes); err != nil {
				return err
			}
		}
		for _, r := range f.runs {
			if err := w.add(r.kind, r.page, r.count, r.data, r.copy); err != nil {
				return err
			}
		}
		s.buffers.put(f.now)
		return nil
	}
	if err := inOrder(ctx, p.o.workers(), p.o.Progress, "reading", s.regions(), s.reads, s.look, take); err != nil {
		return nil, nil, err
	}
	t, err := w.finish()
	if err != nil {
		return nil, nil, err
	}
	regionMap.Undefined = pages.Union(pages.Subtract(regionMap.Undefined, defined), undefined)
	if m.Pack, err = w.pack.finish(); err != nil {
		return nil, nil, err
	}
	t.PackSum = m.Pack.SHA256
	return t, regionMap, nil
}

// newMapOn starts the map of a version from that of the version below, which is not changed.
func newMapOn(below *image.Map, size int64) *image.Map {
	m := &image.Map{VirtualSize: size, Sums: make([]image.Sum, pages.Regions(size))}
	if below != nil {
		copy(m.Sums, below.Sums)
		m.Undefined = below.Undefined
	}
	return m
}

func addFigures(f, g *image.Figures) {
	f.Scanned += g.Scanned
	f.Changed += g.Changed
	f.Equal += g.Equal
	f.Zero += g.Zero
	f.Undefined += g.Undefined
	f.Copied += g.Copied
	f.Shipped += g.Shipped
}
