package trust

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"troy/image"
	"troy/image/trust/internal/tree"
)

// RootFile is where media carry the pinned root metadata, in the initramfs.
const RootFile = "/etc/troy/root.json"

var (
	// ErrNoRoot is returned by Pinned when nothing says which store to trust.
	ErrNoRoot = errors.New("trust: the media carry no root of a store")
	// ErrNotSigned is returned by Pinned when the source has no metadata, or not all of it.
	ErrNotSigned = errors.New("trust: the store is not signed")
)

// PinnedOptions are what a machine knows before it asks anybody.
type PinnedOptions struct {
	// Root is the content of RootFile; without it the error is ErrNoRoot.
	Root []byte
	// Memory keeps what is trusted; nil on a machine whose disk has no journal yet. The agent's is
	// a record of it.
	Memory Memory
	// Built is when the agent was built: the time is never earlier. Zero: the clock alone counts.
	Built time.Time
	// NotFound says which errors of the source mean that there is no such document, besides
	// image.ErrNotFound and fs.ErrNotExist.
	NotFound func(error) bool
}

// Pinned opens a store through the signatures of the pinned root. src must also be
// image.Documents. It returns the only source to be used from then on, and one line that says what
// is trusted. Errors: ErrNoRoot, which says what to do; a RefusedError (ErrUntrusted);
// ErrNotSigned, if the store lacks metadata; those of reading src and Memory. After an error
// nothing of the store may be used: start the version that is there.
func Pinned(ctx context.Context, src image.Source, now time.Time, o *PinnedOptions) (s *Source, says string, err error) {
	docs, err := documentsOf(src)
	if err != nil {
		return nil, "", err
	}
	if o.Root == nil {
		return nil, "", fmt.Errorf("%w: make them with 'troy media --store DIR'", ErrNoRoot)
	}
	if err := CheckRoot(o.Root); err != nil {
		return nil, "", err
	}
	if now.Before(o.Built) {
		now = o.Built
	}
	chain, err := Follow(ctx, src.String(), docs, now, o)
	if err != nil {
		return nil, "", o.hint(src, err)
	}
	t := chain.Metadata
	s = &Source{src: src, docs: docs, targets: t.Targets[metadata.TARGETS].Signed.Targets, known: map[string][]byte{}}
	if s.targets[tree.Servers] != nil {
		s.servers, err = ParseServers(chain.servers)
	}
	return s, o.says(t), err
}

// says tells what is trusted.
func (o *PinnedOptions) says(t *trustedmetadata.TrustedMetadata) string {
	text := fmt.Sprintf("the store is signed: root version %d, targets version %d, fresh until %s", t.Root.Signed.Version,
		t.Targets[metadata.TARGETS].Signed.Version, t.Timestamp.Signed.Expires.UTC().Format("2006-01-02 15:04 MST"))
	if o.Memory == nil {
		text += "; nothing is remembered yet"
	}
	return text
}

// hint says what may be wrong where the bare fact does not.
func (o *PinnedOptions) hint(src image.Source, err error) error {
	switch {
	case o.missing(err):
		return fmt.Errorf("%w: %s lacks metadata: sign the store ('troy key init'): %w", ErrNotSigned, src, err)
	case errors.Is(err, ErrExpired):
		return fmt.Errorf("%w; look at the machine's clock, then at 'troy key list' on the server", err)
	case errors.Is(err, ErrSignature):
		return fmt.Errorf("%w; these media are for another store, or this store was tampered with", err)
	}
	return err
}
