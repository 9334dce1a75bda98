package sign

import (
	"fmt"
	"os"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/internal/tree"
)

// Served is what machines see of a store: what lies in its folder without a signature is not there.
type Served struct {
	// Images are the lists of versions, by the names of the images.
	Images map[string]*image.Index
	// Agent is the current release of the agent; "" = none.
	Agent string
}

// Served reads what is signed, for the server itself: it believes the folder. Errors: ErrDoubt.
func (r *Repository) Served() (*Served, error) {
	st, err := r.load()
	if err == nil {
		err = r.loadDocuments(st)
	}
	if err != nil {
		return nil, err
	}
	s := &Served{Images: map[string]*image.Index{}}
	for name, b := range st.content.docs {
		if img, ok := indexOf(name); ok {
			if s.Images[img], err = image.ParseIndex(b, img); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrDoubt, name, err)
			}
		}
	}
	if b := st.content.docs[tree.Releases]; b != nil {
		release, err := trust.ParseRelease(b)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrDoubt, tree.Releases, err)
		}
		s.Agent = release.Version
	}
	return s, nil
}

// loadDocuments adds the signed copies of the documents that can change.
func (r *Repository) loadDocuments(st *state) (err error) {
	st.content = newContent()
	for name := range st.targets.Signed.Targets {
		if !tree.Changes(name) {
			continue
		}
		if st.content.docs[name], err = r.copyOf(st, name); err != nil {
			return err
		}
	}
	return nil
}

// copyOf reads the signed copy of a document; nil = there is none.
func (r *Repository) copyOf(st *state, name string) ([]byte, error) {
	f := st.targets.Signed.Targets[name]
	if f == nil {
		return nil, nil
	}
	b, err := os.ReadFile(r.path(tree.Copy(name, f.Hashes["sha256"])))
	if err == nil {
		err = f.VerifyLengthHashes(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDoubt, name, err)
	}
	return b, nil
}
