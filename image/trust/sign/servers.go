package sign

import (
	"context"
	"fmt"
	"strings"
	"time"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/internal/tree"
)

// SetServers signs which servers machines take: exactly these, as the next list of the store. It
// needs the admin key and returns image.ErrInvalid for a list that machines would not take.
func (r *Repository) SetServers(ctx context.Context, store *image.Store, servers []trust.Server, now time.Time) error {
	st, err := r.verified(ctx)
	if err != nil {
		return err
	}
	id, _ := st.root.Signed.UnrecognizedFields[tree.StoreField].(string)
	_, err = r.sign(ctx, store, now, change{name: tree.Servers, edit: func(before []byte) ([]byte, error) {
		last, err := readServers(before)
		if err != nil {
			return nil, err
		}
		next := &trust.Servers{}
		if last != nil {
			*next = *last // and what this program does not know of it
		}
		next.Version, next.Store, next.Servers = next.Version+1, id, servers
		if err := next.Check(); err != nil {
			return nil, err
		}
		return next.Encode()
	}})
	return err
}

// Servers returns the signed list of servers; nil if there is none. Errors: ErrNoTrust, ErrDoubt.
func (r *Repository) Servers(ctx context.Context) (*trust.Servers, error) {
	st, err := r.verified(ctx)
	if err != nil {
		return nil, err
	}
	return readServers(st.content.docs[tree.Servers])
}

// ServedList is Servers for the server itself, which knows of no root but that of its store, and
// believes what lies there.
func (r *Repository) ServedList() (*trust.Servers, error) {
	b, err := r.served(tree.Servers)
	if err != nil {
		return nil, err
	}
	return readServers(b)
}

// served reads the signed copy of a document from the folder as it is; nil = there is none.
func (r *Repository) served(name string) ([]byte, error) {
	st, err := r.load()
	if err != nil {
		return nil, err
	}
	return r.copyOf(st, name)
}

func readServers(b []byte) (*trust.Servers, error) {
	if b == nil {
		return nil, nil
	}
	s, err := trust.ParseServers(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDoubt, tree.Servers, err)
	}
	return s, nil
}

// serverItems names the servers of a list.
func serverItems(list *trust.Servers, items map[string]string) {
	for _, s := range list.Servers {
		is := permitted
		if s.Next {
			is = "later"
		}
		if len(s.URLs) > 0 {
			is += " at " + strings.Join(s.URLs, ", ")
		}
		items["PCs take the server with the key "+s.Key] = is
	}
}
