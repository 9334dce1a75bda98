package trust

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
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
	list, err := ParsePermits(b)
	if err != nil {
		return s.refuse(tree.Permits, nil, err)
	}
	for _, p := range list {
		if p.Allows(u, now) {
			return nil
		}
	}
	return s.refuse(u.String(), ErrPermit, fmt.Errorf("none of %d is for this machine and in force", len(list)))
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

// fetchRange is how much Fetch reads at once, in bytes.
const fetchRange = 1 << 20

// Fetch writes a signed file of any size to w, such as a boot file of AgentRelease (by its Path),
// in pieces, never holding more than two of them. It returns nil only if all of it was what was
// signed. On an error w has a part of the file, never all of it, and nothing of that part may be
// used; then Fetch may be called again, and a source with mirrors asks another one.
func (s *Source) Fetch(ctx context.Context, name string, w io.Writer) error {
	size, sum, err := s.expect(name)
	if err != nil {
		return err
	}
	h := sha256.New()
	last, err := s.pour(ctx, name, size, h, w)
	if err != nil {
		return err
	}
	if image.Sum(h.Sum(nil)) != sum {
		for off := int64(0); off < size; off += fetchRange {
			s.Reject(name, off, min(fetchRange, size-off))
		}
		return s.refuse(name, ErrContent, errors.New("its SHA-256 is not the signed one"))
	}
	if _, err := w.Write(last); err != nil {
		return fmt.Errorf("trust: writing %s: %w", name, err)
	}
	return nil
}

// pour reads a file and writes all of it but the last range, which it returns: no wrong file ever
// becomes whole.
func (s *Source) pour(ctx context.Context, name string, size int64, h hash.Hash, w io.Writer) (last []byte, err error) {
	for off := int64(0); off < size; off += fetchRange {
		if _, err := w.Write(last); err != nil {
			return nil, fmt.Errorf("trust: writing %s: %w", name, err)
		}
		n := min(fetchRange, size-off)
		if last, err = s.src.ReadRange(ctx, name, off, n); err != nil {
			return nil, err
		}
		if int64(len(last)) != n {
			return nil, s.refuse(name, ErrContent, fmt.Errorf("%d bytes came, %d were asked for", len(last), n))
		}
		h.Write(last)
	}
	return last, nil
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
