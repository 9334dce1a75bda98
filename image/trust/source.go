package trust

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troy/image"
	"troy/image/trust/internal/tree"
)

// Source reads a store through another source and lets nothing pass that was not signed: indexes,
// manifests and orders must have the signed length and hash; what lies under objects/ is passed on
// as it comes, because image checks it against hashes that begin in a manifest. Boot files of the
// agent are read by Fetch. It is an image.Source, image.Documents and image.Rejecter, and safe for
// concurrent use as far as the source under it is.
type Source struct {
	src     image.Source
	docs    image.Documents
	targets map[string]*metadata.TargetFiles
	servers *Servers

	mu    sync.Mutex
	known map[string][]byte // documents that were checked
}

var (
	_ image.Source    = (*Source)(nil)
	_ image.Documents = (*Source)(nil)
	_ image.Rejecter  = (*Source)(nil)
)

func documentsOf(src image.Source) (image.Documents, error) {
	docs, ok := src.(image.Documents)
	if !ok {
		return nil, fmt.Errorf("%w: %s cannot read documents of unknown length (it has no Get)", image.ErrUnsupported, src)
	}
	return docs, nil
}

// Servers returns the signed list of the site's servers; nil if the store has none.
func (s *Source) Servers() *Servers { return s.servers }

// String returns the name of the source under it.
func (s *Source) String() string { return s.src.String() }

// Get returns a signed document of at most 4 MiB. It returns image.ErrNotFound for one that was not
// signed, a RefusedError for one that is not what was signed.
func (s *Source) Get(ctx context.Context, name string, max int64) ([]byte, error) {
	b, err := s.document(ctx, name)
	if err == nil && int64(len(b)) > max {
		return nil, fmt.Errorf("%w: %s is longer than %d bytes", image.ErrCorrupt, name, max)
	}
	return b, err
}

// ReadRange returns a part of a signed document or, unchecked, of an object.
func (s *Source) ReadRange(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if strings.HasPrefix(name, "objects/") {
		return s.src.ReadRange(ctx, name, off, n)
	}
	b, err := s.document(ctx, name)
	if err != nil {
		return nil, err
	}
	if off < 0 || n < 0 || off > int64(len(b))-n {
		return nil, fmt.Errorf("%w: bytes %d+%d of %s, which has %d", image.ErrCorrupt, off, n, name, len(b))
	}
	return bytes.Clone(b[off : off+n]), nil
}

// Reject tells the source under it, if that wants to hear it, that bytes were wrong.
func (s *Source) Reject(name string, off, n int64) bool { return reject(s.src, name, off, n) }

// Behind says that what is signed here is older than it should be, and returns whether there is
// another mirror: then Pinned, called again, begins with that.
func (s *Source) Behind() bool { return reject(s.src, tree.Folder+"/"+tree.Timestamp, 0, 0) }

// reject tells a source that an answer was wrong; more = there is another mirror to ask.
func reject(src any, name string, off, n int64) (more bool) {
	r, ok := src.(image.Rejecter)
	return ok && r.Reject(name, off, n)
}

func (s *Source) document(ctx context.Context, name string) ([]byte, error) {
	s.mu.Lock()
	b := s.known[name]
	s.mu.Unlock()
	if b != nil {
		return bytes.Clone(b), nil
	}
	t := s.targets[name]
	if t == nil {
		return nil, fmt.Errorf("%w: %s of %s is not signed", image.ErrNotFound, name, s.src)
	}
	if err := s.checkTarget(name, t, tree.MaxDocument); err != nil {
		return nil, err
	}
	at := name
	if tree.Changes(name) {
		at = tree.Folder + "/" + tree.Copy(name, t.Hashes["sha256"])
	}
	b, err := s.docs.Get(ctx, at, t.Length)
	for err == nil {
		wrong := t.VerifyLengthHashes(b)
		if wrong == nil {
			break
		}
		if !reject(s.src, at, 0, 0) {
			return nil, s.refuse(at, ErrContent, wrong)
		}
		b, err = s.docs.Get(ctx, at, t.Length)
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.known[name] = b
	s.mu.Unlock()
	return bytes.Clone(b), nil
}

// checkTarget refuses what was signed by mistake.
func (s *Source) checkTarget(name string, t *metadata.TargetFiles, max int64) error {
	if len(t.Hashes["sha256"]) == sha256.Size && t.Length > 0 && t.Length <= max {
		return nil
	}
	return s.refuse(name, ErrContent, fmt.Errorf("signed without a SHA-256, or with a length that is not from 1 to %d bytes", max))
}

func (s *Source) refuse(name string, class, err error) error {
	return &RefusedError{Source: s.src.String(), Name: name, Class: class, Err: err}
}
