package sign

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/internal/tree"
)

// asked lists the items that a change means: those of the caller, those of the document that it
// edits, and an order for a version that it removes.
func (ch *change) asked(before, after *content) []Item {
	list := slices.Clone(ch.items)
	if ch.edit != nil {
		was, _ := before.only(ch.name).items()
		for what := range was {
			list = append(list, Item{what, ""})
		}
		is, _ := after.only(ch.name).items()
		for what, value := range is {
			list = append(list, Item{what, value})
		}
	}
	for _, i := range ch.items {
		if img, number, ok := strings.Cut(i.What, " version "); ok && i.Is == "" {
			if o, err := trust.ParseOrder(before.docs[tree.Order(img)], img); err == nil && strconv.Itoa(o.Version) == number {
				list = append(list, Item{orderName(img), ""})
			}
		}
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

// orders takes the documents of which there are only signed copies, as they were and as the change
// edits them. An order goes with its version.
func (c *collector) orders(ch *change) error {
	for name, b := range c.before.docs {
		if tree.Signed(name) && c.current(name, b) {
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

// current is false for an order whose version is gone.
func (c *collector) current(name string, b []byte) bool {
	if !strings.HasPrefix(name, "images/") {
		return true
	}
	img := path.Base(path.Dir(name))
	o, err := trust.ParseOrder(b, img)
	return err == nil && c.after.files[fmt.Sprintf("images/%s/%d.json", img, o.Version)] != nil
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
	_, err := r.sign(ctx, store, now, change{name: tree.Order(name), edit: func([]byte) ([]byte, error) {
		if version == 0 {
			return nil, nil
		}
		return json.Marshal(&trust.Order{Format: 1, Image: name, Version: version})
	}})
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

func (r *Repository) setWipes(ctx context.Context, store *image.Store, entries []trust.WipeEntry, now time.Time, f func([]trust.WipeEntry) []trust.WipeEntry) error {
	for _, e := range entries {
		if err := e.Check(); err != nil {
			return err
		}
	}
	if len(entries) > trust.MaxWipes {
		return fmt.Errorf("%w: %d permissions to wipe, at most %d", image.ErrInvalid, len(entries), trust.MaxWipes)
	}
	_, err := r.sign(ctx, store, now, change{name: tree.Wipe, edit: func(before []byte) ([]byte, error) {
		list, err := readWipes(before)
		if err != nil {
			return nil, err
		}
		return encodeWipes(tidyWipes(f(list), now))
	}})
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
	return readWipes(st.content.docs[tree.Wipe])
}

func readWipes(b []byte) ([]trust.WipeEntry, error) {
	if b == nil {
		return nil, nil
	}
	list, err := trust.ParseWipes(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDoubt, tree.Wipe, err)
	}
	return list, nil
}

// encodeWipes is nil for no permissions.
func encodeWipes(list []trust.WipeEntry) ([]byte, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > trust.MaxWipes {
		return nil, fmt.Errorf("%w: %d permissions to wipe, at most %d", image.ErrInvalid, len(list), trust.MaxWipes)
	}
	return json.Marshal(trust.WipeOrder{Format: 1, Entries: list})
}
