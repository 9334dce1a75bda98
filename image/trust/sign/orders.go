package sign

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/internal/tree"
)

// change is what a signing changes in orders and servers, beside what the store holds.
type change struct {
	order *trust.Order
	wipes func(before []trust.WipeEntry) []trust.WipeEntry
	// servers is the next list; nil = that of before.
	servers []trust.Server
}

// SetOrder signs which version of an image machines may go back to: a deliberate rollback. Version
// 0 withdraws the order. It needs the targets key and returns image.ErrNotFound for a version that
// the store does not have.
func (r *Repository) SetOrder(ctx context.Context, store *image.Store, name string, version int, now time.Time) error {
	if version != 0 {
		if _, err := store.Show(ctx, name, version); err != nil {
			return err
		}
	}
	_, err := r.sign(ctx, store, now, change{order: &trust.Order{Format: 1, Image: name, Version: version}})
	return err
}

// AllowWipe signs further permissions to wipe; those whose time is over are left out. It needs the
// targets key and returns image.ErrInvalid for an entry that is none.
func (r *Repository) AllowWipe(ctx context.Context, store *image.Store, entries []trust.WipeEntry, now time.Time) error {
	return r.setWipes(ctx, store, entries, now, func(before []trust.WipeEntry) []trust.WipeEntry { return append(before, entries...) })
}

// SetWipe signs exactly these permissions to wipe; none withdraws all. It needs the targets key and
// returns image.ErrInvalid for an entry that is none.
func (r *Repository) SetWipe(ctx context.Context, store *image.Store, entries []trust.WipeEntry, now time.Time) error {
	return r.setWipes(ctx, store, entries, now, func([]trust.WipeEntry) []trust.WipeEntry { return entries })
}

func (r *Repository) setWipes(ctx context.Context, store *image.Store, entries []trust.WipeEntry, now time.Time, f func([]trust.WipeEntry) []trust.WipeEntry) error {
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
func (r *Repository) Wipes() ([]trust.WipeEntry, error) {
	st, err := r.load()
	if err != nil {
		return nil, err
	}
	return r.wipes(st)
}

func (r *Repository) wipes(st *state) ([]trust.WipeEntry, error) {
	b, err := r.signedCopy(st, tree.Wipe)
	if err != nil || b == nil {
		return nil, err
	}
	list, err := trust.ParseWipes(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrRepository, tree.Wipe, err)
	}
	return list, nil
}

// signedCopy returns a document of which there is only the signed copy, nil if it is not signed.
func (r *Repository) signedCopy(st *state, name string) ([]byte, error) {
	old := st.targets.Signed.Targets[name]
	if old == nil {
		return nil, nil
	}
	b, err := os.ReadFile(r.path(tree.Copy(name, old.Hashes["sha256"])))
	if err == nil {
		err = old.VerifyLengthHashes(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrRepository, name, err)
	}
	return b, nil
}

// order takes the new order of an image, or the one that was signed before.
func (c *collector) order(st *state, name string, versions map[int]bool, order *trust.Order) error {
	var b []byte
	var err error
	if order != nil && order.Image == name {
		b, err = json.Marshal(order)
	} else {
		b, err = c.r.signedCopy(st, tree.Order(name))
	}
	if err != nil || b == nil {
		return err
	}
	o, err := trust.ParseOrder(b, name)
	if err != nil || !versions[o.Version] {
		return err // withdrawn, or the version is gone
	}
	return c.document(tree.Order(name), b)
}

// wipes takes the permissions that were signed before, as they are changed now.
func (c *collector) wipes(st *state, change func([]trust.WipeEntry) []trust.WipeEntry) error {
	list, err := c.r.wipes(st)
	if err != nil {
		return err
	}
	if change != nil {
		list = change(list)
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
	return c.document(tree.Wipe, b)
}
