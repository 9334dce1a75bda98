package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"troy/image/source"
	"troy/image/startable"
	"troy/vhdx"
)

// Source is what is tried.
type Source struct {
	Path    string
	Medium  bool   // an installation medium
	Edition string // EditionID, or the name that a medium gives it
	Choice  string // of a medium: what troy image import takes for --edition
	Build   string
	// Language of a medium, that of the answers for setup; "": not known.
	Language string
	Bytes    int64  // that it holds, roughly
	Size     int64  // of a disk image's disk, in bytes; 0: not known
	Setup    bool   // Windows has still to be set up
	Bound    string // what ties it to an organisation: joined, enrolled; "": nothing
	Unfit    string // why no PC should start it; "": nothing is known
}

// home are the editions that are not licensed to start from a VHDX.
var home = []string{"Core", "CoreN", "CoreSingleLanguage", "CoreCountrySpecific"}

// native are those that are, the best known first.
var native = []string{"Professional", "Education", "Enterprise", "ProfessionalEducation", "ProfessionalWorkstation", "EnterpriseS"}

// LookAt finds out what a file is, and refuses what cannot be tried: ErrSource. It reads the file
// only, and a medium to its list of editions.
func LookAt(ctx context.Context, path, edition string) (*Source, error) {
	s := &Source{Path: path}
	list, err := source.Editions(ctx, path)
	if err != nil {
		return nil, refused(path, err)
	}
	if list != nil {
		s.Medium, s.Setup = true, true
		err = s.choose(list, edition)
	} else {
		if edition != "" {
			return nil, fmt.Errorf("%w: %s is a disk image and has no editions to choose from", ErrSource, path)
		}
		err = s.disk(ctx)
	}
	if err != nil {
		return nil, err
	}
	return s, s.licensed()
}

// licensed refuses an edition that may not be booted natively.
func (s *Source) licensed() error {
	if slices.Contains(home, s.Edition) {
		return fmt.Errorf("%w: %s holds Windows Home, which Microsoft does not license to start from a VHDX; take Pro, Education or Enterprise",
			ErrSource, s.Path)
	}
	return nil
}

// allowed refuses what the options do not allow.
func (s *Source) allowed(o *Options) error {
	if o.Online && s.Bound != "" {
		return fmt.Errorf("%w: with the network open this Windows would change its account there: %s; leave --online out", ErrSource, s.Bound)
	}
	if s.Unfit != "" && !o.Force {
		return fmt.Errorf("%w: %s", ErrSource, s.Unfit)
	}
	return nil
}

func refused(path string, err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: %w", ErrSource, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrSource, path, err)
}

// choose takes an edition of a medium.
func (s *Source) choose(list []source.Edition, want string) error {
	pick := func(match func(e *source.Edition) bool) *source.Edition {
		for i := range list {
			if list[i].Architecture == "x64" && match(&list[i]) {
				return &list[i]
			}
		}
		return nil
	}
	var found *source.Edition
	if want != "" {
		found = pick(func(e *source.Edition) bool {
			return strings.EqualFold(e.Name, want) || strings.EqualFold(e.ID, want) || fmt.Sprint(e.Index) == want
		})
	}
	for i := 0; found == nil && want == "" && i < len(native); i++ {
		found = pick(func(e *source.Edition) bool { return e.ID == native[i] })
	}
	if found == nil && want == "" { // one that says nothing of itself, or Home alone
		found = pick(func(*source.Edition) bool { return true })
	}
	if found == nil {
		return fmt.Errorf("%w: %s has no edition %q for x64; it has: %s", ErrSource, s.Path, want, names(list))
	}
	s.Edition, s.Choice, s.Build, s.Language, s.Bytes = orDefault(found.ID, found.Name), fmt.Sprint(found.Index), found.Build, found.Language, found.Bytes
	return nil
}

func names(list []source.Edition) string {
	var all []string
	for _, e := range list {
		all = append(all, fmt.Sprintf("%d %s (%s)", e.Index, e.Name, e.Architecture))
	}
	return strings.Join(all, ", ")
}

// disk looks into a disk image. One that has to be converted first is looked at when it is imported.
func (s *Source) disk(ctx context.Context) error {
	info, err := os.Stat(s.Path)
	if err != nil {
		return refused(s.Path, err)
	}
	s.Bytes = info.Size()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.Bytes = min(s.Bytes, st.Blocks*512) // of a sparse file
	}
	src, err := source.Recognise(s.Path)
	if err != nil {
		return refused(s.Path, err)
	}
	d, err := src.Open(ctx, &source.Options{Parents: &vhdx.Parents{}, Scratch: func() (string, error) { return "", errConverted }})
	if errors.Is(err, errConverted) {
		return nil
	}
	if err != nil {
		return refused(s.Path, err)
	}
	defer d.Close()
	return s.look(d.Reader, d.Size, int(d.SectorSize))
}

// look looks at what is on a disk.
func (s *Source) look(disk io.ReaderAt, size int64, sector int) error {
	s.Size = size
	product, err := startable.ReadProduct(disk, size, sector)
	if err != nil {
		return refused(s.Path, err)
	}
	s.Edition, s.Build = product.Edition, product.Build
	v := startable.Check(disk, size, sector)
	s.Setup = v.Setup
	for _, f := range v.Findings {
		switch f.Reason {
		case startable.DomainJoined, startable.EntraJoined, startable.Enrolled:
			s.Bound = f.String()
		}
	}
	if err := v.Refused(startable.Allowed{}); err != nil {
		s.Unfit = err.Error()
	}
	return nil
}

// errConverted: a source cannot be read before it is converted.
var errConverted = errors.New("it has to be converted first")
