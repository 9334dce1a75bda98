package trust

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troy/image"
)

// Source reads a store through another source and lets nothing pass that was not signed: indexes, manifests and orders must have the signed length and hash;
// what lies under objects/ is passed on as it comes, because image checks it against hashes that begin in a manifest. It is an image.Source and
// image.Documents, and safe for concurrent use as far as the source under it is.
type Source struct {
	src     image.Source
	docs    image.Documents
	targets map[string]*metadata.TargetFiles

	mu    sync.Mutex
	known map[string][]byte // documents that were checked
}

var (
	_ image.Source    = (*Source)(nil)
	_ image.Documents = (*Source)(nil)
)

// Source returns the signed view of src, which must also be image.Documents, as of the last Refresh. It returns ErrUntrusted if that did not succeed.
func (c *Client) Source(src image.Source) (*Source, error) {
	if c.trusted == nil {
		return nil, &RefusedError{Source: src.String(), Name: Folder, Err: errors.New("its metadata was not found good")}
	}
	docs, ok := src.(image.Documents)
	if !ok {
		return nil, fmt.Errorf("%w: %s gives no documents of unknown length (it has no Get)", image.ErrUnsupported, src)
	}
	return &Source{src: src, docs: docs, targets: c.trusted.Targets[metadata.TARGETS].Signed.Targets, known: map[string][]byte{}}, nil
}

// String returns the name of the source under it.
func (s *Source) String() string { return s.src.String() }

// Get returns a signed document. It returns image.ErrNotFound for one that was not signed, a RefusedError for one that is not what was signed.
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
	sum := t.Hashes["sha256"]
	if len(sum) != sha256.Size || t.Length <= 0 || t.Length > maxDocument {
		return nil, &RefusedError{Source: s.src.String(), Name: name, Class: ErrContent, Err: errors.New("signed without a SHA-256 or with a length that cannot be")}
	}
	at := name
	if changes(name) {
		at = Folder + "/" + documentName(name, sum)
	}
	b, err := s.docs.Get(ctx, at, t.Length)
	if err != nil {
		return nil, err
	}
	if err := t.VerifyLengthHashes(b); err != nil {
		return nil, &RefusedError{Source: s.src.String(), Name: at, Class: ErrContent, Err: err}
	}
	s.mu.Lock()
	s.known[name] = b
	s.mu.Unlock()
	return bytes.Clone(b), nil
}

// changes says whether a document has signed copies: the tree itself has only its newest state, which may be newer than what is signed.
func changes(name string) bool {
	return strings.HasSuffix(name, "/versions.json") || strings.HasSuffix(name, "/order.json")
}

// Order returns the version of an image that the admin signed an order for, 0 if there is none.
func (s *Source) Order(ctx context.Context, name string) (int, error) {
	if s.targets[orderName(name)] == nil {
		return 0, nil
	}
	b, err := s.document(ctx, orderName(name))
	if err != nil {
		return 0, err
	}
	o, err := parseOrder(b, name)
	if err != nil {
		return 0, &RefusedError{Source: s.src.String(), Name: orderName(name), Err: err}
	}
	return o.Version, nil
}

// Allow says whether a machine that holds version have (0: nothing) of an image may go to version want, as a server told it, whose word is not signed: forward
// always, back only by a signed order. It returns a RefusedError with ErrOrder.
func (s *Source) Allow(ctx context.Context, name string, have, want int) error {
	if want >= have {
		return nil
	}
	v, err := s.Order(ctx, name)
	if err != nil {
		return err
	}
	if v != want {
		return &RefusedError{Source: s.src.String(), Name: fmt.Sprintf("version %d of %s", want, name), Class: ErrOrder, Err: fmt.Errorf("the machine has version %d", have)}
	}
	return nil
}
