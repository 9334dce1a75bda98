package trust

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"troy/chainload/release"
	"troy/image"
	"troy/image/trust/internal/tree"
)

// Permitted says whether a machine may do what a server told it, whose word is not signed: only by a
// signed permit of exactly this scope, for its own key or the serial number of the disk. It returns
// a RefusedError with ErrPermit.
func (s *Source) Permitted(ctx context.Context, u Use, now time.Time) error {
	if s.targets[tree.Permits] == nil {
		return s.refuse(u.String(), ErrPermit, errors.New("none is signed"))
	}
	b, err := s.document(ctx, tree.Permits)
	if err != nil {
		return err
	}
	d, err := ParsePermits(b)
	if err != nil {
		return s.refuse(tree.Permits, nil, err)
	}
	if slices.ContainsFunc(d.Permits, func(p Permit) bool { return p.Allows(u, now) }) {
		return nil
	}
	return s.refuse(u.String(), ErrPermit, fmt.Errorf("none of %d is for this machine and in force", len(d.Permits)))
}

// AgentRelease returns the current release of the agent. A server may name it, but
// no other: an older one is signed as well, and its faults are known. It returns image.ErrNotFound
// if the store has none.
func (s *Source) AgentRelease(ctx context.Context) (*AgentRelease, error) {
	name := tree.Releases
	b, err := s.Get(ctx, name, tree.MaxRelease)
	if err != nil {
		return nil, err
	}
	r, err := ParseRelease(b)
	if err != nil {
		return nil, s.refuse(name, nil, err)
	}
	for _, f := range r.Files {
		if t := s.targets[r.Path(f.Name)]; t == nil || t.Length != f.Size {
			return nil, s.refuse(r.Path(f.Name), ErrContent, fmt.Errorf("%s names it with %d bytes", name, f.Size))
		}
	}
	return r, nil
}

// fileRange is how much File reads at once, in bytes.
const fileRange = 1 << 20

// File reads a signed file of any size, such as a boot file of AgentRelease (by its Path). A source
// with mirrors is asked again while one is left that has not given wrong bytes.
func (s *Source) File(ctx context.Context, name string) ([]byte, error) {
	size, sum, err := s.expect(name)
	if err != nil {
		return nil, err
	}
	for more := true; more; {
		b, err := s.read(ctx, name, size)
		if err != nil {
			return nil, err
		}
		if image.Sum(sha256.Sum256(b)) == sum {
			return b, nil
		}
		more = false
		for off := int64(0); off < size; off += fileRange {
			more = s.Reject(name, off, min(fileRange, size-off)) || more
		}
	}
	return nil, s.refuse(name, ErrContent, errors.New("its SHA-256 is not the signed one"))
}

// read reads a file in ranges: what is allocated follows what has come.
func (s *Source) read(ctx context.Context, name string, size int64) ([]byte, error) {
	var b []byte
	for int64(len(b)) < size {
		off := int64(len(b))
		n := min(fileRange, size-off)
		part, err := s.src.ReadRange(ctx, name, off, n)
		if err != nil {
			return nil, err
		}
		if int64(len(part)) != n {
			return nil, s.refuse(name, ErrContent, fmt.Errorf("%d bytes came, %d were asked for", len(part), n))
		}
		b = append(b, part...)
	}
	return b, nil
}

// expect returns what a file should be.
func (s *Source) expect(name string) (size int64, sum image.Sum, err error) {
	t := s.targets[name]
	if t == nil || tree.Changes(name) {
		return 0, sum, fmt.Errorf("%w: %s of %s is not signed", image.ErrNotFound, name, s.src)
	}
	if err := s.checkTarget(name, t, release.MaxFile); err != nil {
		return 0, sum, err
	}
	return t.Length, image.Sum(t.Hashes["sha256"]), nil
}
