package sign

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/internal/tree"
)

// orderChange is a new order for an image; version 0 withdraws the order.
type orderChange struct {
	image   string
	version int
}

// wipesChange makes new permissions to wipe from those of before; nil = as they are.
type wipesChange func(before []trust.WipeEntry) []trust.WipeEntry

// asked lists the items that a change means, given what is signed.
func (ch *change) asked(before *content) ([]Item, error) {
	list := slices.Clone(ch.items)
	if o := ch.order; o != nil {
		is := ""
		if o.version != 0 {
			is = strconv.Itoa(o.version)
		}
		list = append(list, Item{orderName(o.image), is})
	}
	for _, i := range ch.items { // an order for a version that is removed goes with it
		if img, number, ok := strings.Cut(i.What, " version "); ok && i.Is == "" {
			if o, err := before.order(img); err == nil && o != nil && strconv.Itoa(o.Version) == number {
				list = append(list, Item{orderName(img), ""})
			}
		}
	}
	if ch.wipes == nil {
		return list, nil
	}
	was, err := before.wipes()
	if err != nil {
		return nil, err
	}
	for _, e := range was {
		list = append(list, Item{wipeName(e), ""})
	}
	for _, e := range ch.wipes(was) {
		list = append(list, Item{wipeName(e), permitted})
	}
	return list, nil
}

// SetOrder signs which version of an image machines may go back to: a deliberate rollback. Version
// 0 withdraws the order. It needs the admin key and returns image.ErrNotFound for a version that is
// not signed.
func (r *Repository) SetOrder(ctx context.Context, store *image.Store, name string, version int, now time.Time) error {
	if version != 0 {
		src, err := r.Source(ctx, store)
		if err != nil {
			return err
		}
		if _, err := image.LoadManifest(ctx, src, name, version); err != nil {
			return err
		}
	}
	_, err := r.sign(ctx, store, now, change{order: &orderChange{name, version}})
	return err
}

// AllowWipe signs further permissions to wipe; those whose time is over are left out. It needs the
// admin key and returns image.ErrInvalid for an entry that is none.
func (r *Repository) AllowWipe(ctx context.Context, store *image.Store, entries []trust.WipeEntry, now time.Time) error {
	return r.setWipes(ctx, store, entries, now, func(before []trust.WipeEntry) []trust.WipeEntry { return append(slices.Clone(before), entries...) })
}

// SetWipe signs exactly these permissions to wipe; none withdraws all. It needs the admin key and
// returns image.ErrInvalid for an entry that is none.
func (r *Repository) SetWipe(ctx context.Context, store *image.Store, entries []trust.WipeEntry, now time.Time) error {
	return r.setWipes(ctx, store, entries, now, func([]trust.WipeEntry) []trust.WipeEntry { return entries })
}

func (r *Repository) setWipes(ctx context.Context, store *image.Store, entries []trust.WipeEntry, now time.Time, f wipesChange) error {
	for _, e := range entries {
		if err := e.Check(); err != nil {
			return err
		}
	}
	if len(entries) > trust.MaxWipes {
		return fmt.Errorf("%w: %d permissions to wipe, at most %d", image.ErrInvalid, len(entries), trust.MaxWipes)
	}
	_, err := r.sign(ctx, store, now, change{wipes: func(before []trust.WipeEntry) []trust.WipeEntry { return tidyWipes(f(before), now) }})
	return err
}

// tidyWipes leaves out what is over, and of several entries about the same disk all but the last.
// The entries were found good before.
func tidyWipes(list []trust.WipeEntry, now time.Time) []trust.WipeEntry {
	var out []trust.WipeEntry
	for _, e := range list {
		_ = e.Check()
		e.Until = e.Until.UTC().Truncate(time.Second)
		out = slices.DeleteFunc(out, func(o trust.WipeEntry) bool { return strings.EqualFold(o.Serial, e.Serial) && o.Machine == e.Machine })
		if e.Until.IsZero() || !now.After(e.Until) {
			out = append(out, e)
		}
	}
	return out
}

// Wipes returns the signed permissions to wipe, as they were given.
func (r *Repository) Wipes(ctx context.Context) ([]trust.WipeEntry, error) {
	st, err := r.verified(ctx)
	if err != nil {
		return nil, err
	}
	return st.content.wipes()
}

func (c *content) wipes() ([]trust.WipeEntry, error) {
	b := c.docs[tree.Wipe]
	if b == nil {
		return nil, nil
	}
	list, err := trust.ParseWipes(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDoubt, tree.Wipe, err)
	}
	return list, nil
}

// order is the order for an image, nil if there is none.
func (c *content) order(name string) (*trust.Order, error) {
	b := c.docs[tree.Order(name)]
	if b == nil {
		return nil, nil
	}
	o, err := trust.ParseOrder(b, name)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDoubt, tree.Order(name), err)
	}
	return o, nil
}

// order takes the new order of an image, or the one that was signed before.
func (c *collector) order(name string, versions map[int]bool, ch *orderChange) error {
	o, err := c.before.order(name)
	if err != nil {
		return err
	}
	if ch != nil && ch.image == name {
		o = &trust.Order{Format: 1, Image: name, Version: ch.version}
	}
	if o == nil || !versions[o.Version] {
		return nil // none, withdrawn, or the version is gone
	}
	b, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	c.after.add(tree.Order(name), b)
	return nil
}

// wipes takes the permissions that were signed before, as they are changed now.
func (c *collector) wipes(ch wipesChange) error {
	list, err := c.before.wipes()
	if err != nil {
		return err
	}
	if ch != nil {
		list = ch(list)
	}
	if len(list) == 0 {
		return nil
	}
	if len(list) > trust.MaxWipes {
		return fmt.Errorf("%w: %d permissions to wipe, at most %d", image.ErrInvalid, len(list), trust.MaxWipes)
	}
	b, err := json.Marshal(trust.WipeOrder{Format: 1, Entries: list})
	if err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	c.after.add(tree.Wipe, b)
	return nil
}
