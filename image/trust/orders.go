package trust

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"troy/image"
)

// wipeName is the target that names the disks that may be wiped.
const wipeName = "orders/wipe.json"

const (
	maxWipes  = 4096 // entries of a WipeOrder
	maxSerial = 128  // bytes of a serial number
)

// Order is the document images/NAME/order.json: the version that the admin wants machines to have, newer or older than what they hold.
type Order struct {
	// Format is 1.
	Format int    `json:"format"`
	Image  string `json:"image"`
	// Version is the version to go to.
	Version int `json:"version"`
}

// WipeOrder is the document orders/wipe.json: what the admin permits to be wiped. A disk that holds anything and that no entry names is never wiped, whatever a
// server says.
type WipeOrder struct {
	// Format is 1.
	Format  int         `json:"format"`
	Entries []WipeEntry `json:"entries"`
}

// WipeEntry permits one disk, or those of one machine. Serial, Machine or both are there; with both, it is that disk while it is in that machine.
type WipeEntry struct {
	// Serial is the serial number of a disk, as the kernel tells it, without spaces around. Case does not matter.
	Serial string `json:"serial,omitempty"`
	// Machine is the SMBIOS UUID or a MAC address of a machine: any of its disks.
	Machine string `json:"machine,omitempty"`
	// Until is when the permission ends; zero: when it is withdrawn.
	Until time.Time `json:"until,omitzero"`
}

// String names what the entry permits.
func (e WipeEntry) String() string {
	disk := "any disk"
	if e.Serial != "" {
		disk = fmt.Sprintf("disk %q", e.Serial)
	}
	if e.Machine != "" {
		disk += " of machine " + e.Machine
	}
	if !e.Until.IsZero() {
		disk += " until " + e.Until.UTC().Format("2006-01-02 15:04 MST")
	}
	return disk
}

// Check returns ErrInvalid (of package image) for an entry that permits nothing or that many disks have in common, and spells the entry as it is compared.
func (e *WipeEntry) Check() error {
	e.Serial = strings.TrimSpace(e.Serial)
	if e.Serial == "" && e.Machine == "" {
		return fmt.Errorf("%w permission to wipe: neither a serial number nor a machine", image.ErrInvalid)
	}
	if e.Serial != "" && !goodSerial(e.Serial) {
		return fmt.Errorf("%w permission to wipe: %q is not the serial number of one disk (4 to %d printable characters, not all alike)", image.ErrInvalid, e.Serial, maxSerial)
	}
	if e.Machine == "" {
		return nil
	}
	id := machineID(e.Machine)
	if id == "" {
		return fmt.Errorf("%w permission to wipe: %q is not the UUID or the MAC address of one machine", image.ErrInvalid, e.Machine)
	}
	e.Machine = id
	return nil
}

// goodSerial refuses what makers leave in when they give no number.
func goodSerial(s string) bool {
	if len(s) < 4 || len(s) > maxSerial || strings.Count(s, s[:1]) == len(s) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// machineID spells a UUID or MAC as it is compared: lower case; "" for what is neither, or stands for no machine in particular.
func machineID(s string) string {
	s = strings.TrimSpace(s)
	if id, err := uuid.Parse(s); err == nil {
		if text := id.String(); text != "03000200-0400-0500-0006-000700080009" && !alike(id[:]) { // the former is in many boards that were never given one
			return text
		}
		return ""
	}
	if mac, err := net.ParseMAC(s); err == nil && len(mac) == 6 && !alike(mac) && mac[0]&1 == 0 {
		return mac.String()
	}
	return ""
}

func alike(b []byte) bool { return bytes.Count(b, b[:1]) == len(b) }

// permits says whether an entry of a checked order is about this disk in this machine, now.
func (e *WipeEntry) permits(machines []string, serial string, now time.Time) bool {
	if !e.Until.IsZero() && now.After(e.Until) {
		return false
	}
	if e.Serial != "" && !strings.EqualFold(e.Serial, strings.TrimSpace(serial)) {
		return false
	}
	return e.Machine == "" || slices.ContainsFunc(machines, func(m string) bool { return machineID(m) == e.Machine })
}

func parseOrder(b []byte, name string) (*Order, error) {
	var o Order
	if err := strict(b, &o); err != nil || o.Format != 1 || o.Image != name {
		return nil, fmt.Errorf("trust: this is no order of format 1 for image %s", name)
	}
	return &o, nil
}

// parseWipes takes an order only if all of it is understood and spelled as Check spells it: half of a permission is none.
func parseWipes(b []byte) ([]WipeEntry, error) {
	var o WipeOrder
	if err := strict(b, &o); err != nil || o.Format != 1 {
		return nil, errors.New("trust: this is no permission to wipe of format 1")
	}
	if len(o.Entries) > maxWipes {
		return nil, fmt.Errorf("trust: %d permissions to wipe, at most %d", len(o.Entries), maxWipes)
	}
	for i := range o.Entries {
		was := o.Entries[i]
		if err := o.Entries[i].Check(); err != nil {
			return nil, err
		}
		if was != o.Entries[i] {
			return nil, fmt.Errorf("trust: entry %d of the permissions to wipe is not spelled as this program writes it", i)
		}
	}
	return o.Entries, nil
}

// strict decodes one JSON document with known members.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one document")
	}
	return nil
}

// change is what a signing changes in the orders, beside what the store holds.
type change struct {
	order *Order
	wipes func(before []WipeEntry) []WipeEntry
}

// SetOrder signs which version of an image machines may go back to: a deliberate rollback. Version 0 withdraws the order. It needs the targets key and
// returns image.ErrNotFound for a version that the store does not have.
func (r *Repository) SetOrder(ctx context.Context, store *image.Store, name string, version int, now time.Time) error {
	if version != 0 {
		if _, err := store.Show(ctx, name, version); err != nil {
			return err
		}
	}
	_, err := r.sign(ctx, store, now, change{order: &Order{Format: 1, Image: name, Version: version}})
	return err
}

// AllowWipe signs further permissions to wipe; those whose time is over are left out. It needs the targets key and returns image.ErrInvalid for an entry
// that is none.
func (r *Repository) AllowWipe(ctx context.Context, store *image.Store, entries []WipeEntry, now time.Time) error {
	return r.setWipes(ctx, store, entries, now, func(before []WipeEntry) []WipeEntry { return append(before, entries...) })
}

// SetWipe signs exactly these permissions to wipe; none withdraws all. It needs the targets key and returns image.ErrInvalid for an entry that is none.
func (r *Repository) SetWipe(ctx context.Context, store *image.Store, entries []WipeEntry, now time.Time) error {
	return r.setWipes(ctx, store, entries, now, func([]WipeEntry) []WipeEntry { return entries })
}

func (r *Repository) setWipes(ctx context.Context, store *image.Store, entries []WipeEntry, now time.Time, f func([]WipeEntry) []WipeEntry) error {
	for _, e := range entries {
		if err := e.Check(); err != nil {
			return err
		}
	}
	if len(entries) > maxWipes {
		return fmt.Errorf("%w: %d permissions to wipe, at most %d", image.ErrInvalid, len(entries), maxWipes)
	}
	_, err := r.sign(ctx, store, now, change{wipes: func(before []WipeEntry) []WipeEntry { return tidyWipes(f(before), now) }})
	return err
}

// tidyWipes leaves out what is over, and of several entries about the same disk all but the last. The entries were found good before.
func tidyWipes(list []WipeEntry, now time.Time) []WipeEntry {
	var out []WipeEntry
	for _, e := range list {
		_ = e.Check()
		e.Until = e.Until.UTC().Truncate(time.Second)
		out = slices.DeleteFunc(out, func(o WipeEntry) bool { return strings.EqualFold(o.Serial, e.Serial) && o.Machine == e.Machine })
		if e.Until.IsZero() || !now.After(e.Until) {
			out = append(out, e)
		}
	}
	return out
}

// Wipes returns the signed permissions to wipe, as they were given.
func (r *Repository) Wipes() ([]WipeEntry, error) {
	st, err := r.load()
	if err != nil {
		return nil, err
	}
	return r.wipes(st)
}

func (r *Repository) wipes(st *state) ([]WipeEntry, error) {
	b, err := r.signedCopy(st, wipeName)
	if err != nil || b == nil {
		return nil, err
	}
	list, err := parseWipes(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrRepository, wipeName, err)
	}
	return list, nil
}

// signedCopy returns a document of which there is only the signed copy, nil if it is not signed.
func (r *Repository) signedCopy(st *state, name string) ([]byte, error) {
	old := st.targets.Signed.Targets[name]
	if old == nil {
		return nil, nil
	}
	b, err := os.ReadFile(r.path(documentName(name, old.Hashes["sha256"])))
	if err == nil {
		err = old.VerifyLengthHashes(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrRepository, name, err)
	}
	return b, nil
}

// order takes the new order of an image, or the one that was signed before.
func (c *collector) order(st *state, name string, versions map[int]bool, order *Order) error {
	var b []byte
	var err error
	if order != nil && order.Image == name {
		b, err = json.Marshal(order)
	} else {
		b, err = c.r.signedCopy(st, orderName(name))
	}
	if err != nil || b == nil {
		return err
	}
	o, err := parseOrder(b, name)
	if err != nil || !versions[o.Version] {
		return err // withdrawn, or the version is gone
	}
	return c.document(orderName(name), b)
}

// wipes takes the permissions that were signed before, as they are changed now.
func (c *collector) wipes(st *state, change func([]WipeEntry) []WipeEntry) error {
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
	if len(list) > maxWipes {
		return fmt.Errorf("%w: %d permissions to wipe, at most %d", image.ErrInvalid, len(list), maxWipes)
	}
	b, err := json.Marshal(WipeOrder{Format: 1, Entries: list})
	if err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	return c.document(wipeName, b)
}
