package sign

import (
	"context"
	"fmt"
	"time"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/internal/tree"
)

// SetServers signs which servers machines take: exactly these, as the next list of the store. It
// needs the targets key and returns image.ErrInvalid for a list that machines would not take.
func (r *Repository) SetServers(ctx context.Context, store *image.Store, servers []trust.Server, now time.Time) error {
	_, err := r.sign(ctx, store, now, change{servers: servers})
	return err
}

// Servers returns the signed list of servers; nil if there is none.
func (r *Repository) Servers() (*trust.Servers, error) {
	st, err := r.load()
	if err != nil {
		return nil, err
	}
	return r.servers(st)
}

func (r *Repository) servers(st *state) (*trust.Servers, error) {
	b, err := r.signedCopy(st, tree.Servers)
	if err != nil || b == nil {
		return nil, err
	}
	s, err := trust.ParseServers(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrRepository, tree.Servers, err)
	}
	return s, nil
}

// servers takes the list that was signed before, or the next one.
func (c *collector) servers(st *state, next []trust.Server) error {
	list, err := c.r.servers(st)
	if err != nil {
		return err
	}
	if next != nil {
		version := 1
		if list != nil {
			version = list.Version + 1
		}
		id, _ := st.root.Signed.UnrecognizedFields[tree.StoreField].(string)
		list = &trust.Servers{Format: 1, Version: version, Store: id, Servers: next}
	}
	if list == nil {
		return nil
	}
	if err := list.Check(); err != nil {
		return err
	}
	b, err := list.Encode()
	if err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	return c.document(tree.Servers, b)
}
