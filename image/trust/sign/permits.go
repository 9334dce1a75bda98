package sign

import (
	"context"
	"fmt"
	"slices"
	"time"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/internal/tree"
)

// asked lists the items that a change means: those of the caller, and those of the document that it
// edits.
func (ch *change) asked(before, after *content) []Item {
	list := slices.Clone(ch.items)
	if ch.edit == nil {
		return list
	}
	was, _ := before.only(ch.name).items()
	for what := range was {
		list = append(list, Item{what, ""})
	}
	is, _ := after.only(ch.name).items()
	for what, value := range is {
		list = append(list, Item{what, value})
	}
	return list
}

// only is the part of a content that one document is.
func (c *content) only(name string) *content {
	one := newContent()
	if b := c.docs[name]; b != nil {
		one.add(name, b)
	}
	return one
}

// signedOnly takes the documents of which there are only signed copies, as they were and as the
// change edits them.
func (c *collector) signedOnly(ch *change) error {
	for name, b := range c.before.docs {
		if tree.Signed(name) {
			c.after.add(name, b)
		}
	}
	if ch.edit == nil {
		return nil
	}
	b, err := ch.edit(c.before.docs[ch.name])
	if err != nil {
		return err
	}
	delete(c.after.docs, ch.name)
	delete(c.after.files, ch.name)
	if b != nil {
		c.after.add(ch.name, b)
	}
	return nil
}

// Permit signs further permits, as given at now, in place of those for the same thing. Those that
// have ended, or of which spent (which may be nil) says that they were used, are left out. It needs
// the admin key and returns image.ErrInvalid for what is no permit, and image.ErrNotFound for a
// downgrade to a version that is not signed.
func (r *Repository) Permit(ctx context.Context, store *image.Store, permits []trust.Permit, spent func(trust.Permit) bool, now time.Time) error {
	permits = slices.Clone(permits)
	for i := range permits {
		p := &permits[i]
		p.Signed = now
		if err := r.permissible(ctx, store, p, now); err != nil {
			return err
		}
	}
	return r.editPermits(ctx, store, now, func(list []trust.Permit) []trust.Permit {
		if spent != nil {
			list = slices.DeleteFunc(list, spent)
		}
		for _, p := range permits {
			list = append(slices.DeleteFunc(list, p.Same), p)
		}
		return list
	})
}

func (r *Repository) permissible(ctx context.Context, store *image.Store, p *trust.Permit, now time.Time) error {
	if err := p.Check(); err != nil {
		return err
	}
	if now.After(p.Until) {
		return fmt.Errorf("%w permit: it ended at %s", image.ErrInvalid, p.Until.Format(time.RFC3339))
	}
	if p.Scope != trust.Downgrade {
		return nil
	}
	src, err := r.Source(ctx, store)
	if err == nil {
		_, err = image.LoadManifest(ctx, src, p.Image, p.Version)
	}
	return err
}

// Withdraw signs that the permits which gone names are no more. It needs the admin key.
func (r *Repository) Withdraw(ctx context.Context, store *image.Store, gone func(trust.Permit) bool, now time.Time) error {
	return r.editPermits(ctx, store, now, func(list []trust.Permit) []trust.Permit { return slices.DeleteFunc(list, gone) })
}

func (r *Repository) editPermits(ctx context.Context, store *image.Store, now time.Time, f func([]trust.Permit) []trust.Permit) error {
	_, err := r.sign(ctx, store, now, change{name: tree.Permits, edit: func(before []byte) ([]byte, error) {
		d, err := readPermits(before)
		if err != nil {
			return nil, err
		}
		d.Permits = slices.DeleteFunc(f(d.Permits), func(p trust.Permit) bool { return now.After(p.Until) })
		if len(d.Permits) > trust.MaxPermits {
			return nil, fmt.Errorf("%w: %d permits, at most %d", image.ErrInvalid, len(d.Permits), trust.MaxPermits)
		}
		if len(d.Permits) == 0 {
			return nil, nil
		}
		return d.Encode()
	}})
	return err
}

// Permits returns what is signed, those that have ended since included.
func (r *Repository) Permits(ctx context.Context) ([]trust.Permit, error) {
	st, err := r.verified(ctx)
	if err != nil {
		return nil, err
	}
	d, err := readPermits(st.content.docs[tree.Permits])
	return d.Permits, err
}

// ServedPermits is Permits for the server itself, which knows of no root but that of its store, and
// believes what lies there.
func (r *Repository) ServedPermits() ([]trust.Permit, error) {
	b, err := r.served(tree.Permits)
	if err != nil {
		return nil, err
	}
	d, err := readPermits(b)
	return d.Permits, err
}

// readPermits returns an empty document where there is none.
func readPermits(b []byte) (*trust.Permits, error) {
	if b == nil {
		return &trust.Permits{}, nil
	}
	d, err := trust.ParsePermits(b)
	if err != nil {
		return &trust.Permits{}, fmt.Errorf("%w: %s: %w", ErrDoubt, tree.Permits, err)
	}
	return d, nil
}
