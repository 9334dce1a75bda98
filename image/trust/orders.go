package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"troy/image"
	"troy/internal/identity"
)

// MaxWipes is how many entries a WipeOrder has at most.
const MaxWipes = 4096

const maxSerial = 128 // bytes of a serial number

// Order is the document images/NAME/order.json: the version that the admin wants machines to have,
// newer or older than what they hold.
type Order struct {
	// Format is 1.
	Format int    `json:"format"`
	Image  string `json:"image"`
	// Version is the version to go to.
	Version int `json:"version"`
}

// WipeOrder is the document orders/wipe.json: what the admin permits to be wiped. A disk that holds
// anything and that no entry names is never wiped, whatever a server says.
type WipeOrder struct {
	// Format is 1.
	Format  int         `json:"format"`
	Entries []WipeEntry `json:"entries"`
}

// WipeEntry permits one disk, or those of one machine. Serial, Machine or both are there; with
// both, it is that disk while it is in that machine.
type WipeEntry struct {
	// Serial is the serial number of a disk, as the kernel tells it, without spaces around. Case
	// does not matter.
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

// Check returns ErrInvalid (of package image) for an entry that permits nothing or that many disks
// have in common, and spells the entry as it is compared.
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

// machineID spells a UUID or MAC address; "" for what is neither, or belongs to no machine in
// particular.
func machineID(s string) string {
	s = strings.TrimSpace(s)
	if _, one := identity.Fold(s); !one {
		return ""
	}
	if mac, err := identity.ParseMAC(s); err == nil {
		return mac
	}
	id, _ := identity.ParseUUID(s) // it is the one or the other
	return id
}

// sameMachine compares in both byte orders of a UUID.
func sameMachine(a, b string) bool {
	fa, oneA := identity.Fold(a)
	fb, oneB := identity.Fold(b)
	return oneA && oneB && fa == fb
}

// permits says whether an entry of a checked order is about this disk in this machine, now.
func (e *WipeEntry) permits(machines []string, serial string, now time.Time) bool {
	if !e.Until.IsZero() && now.After(e.Until) {
		return false
	}
	if e.Serial != "" && !strings.EqualFold(e.Serial, strings.TrimSpace(serial)) {
		return false
	}
	return e.Machine == "" || slices.ContainsFunc(machines, func(m string) bool { return sameMachine(m, e.Machine) })
}

// ParseOrder reads the order for an image.
func ParseOrder(b []byte, name string) (*Order, error) {
	var o Order
	if err := strict(b, &o); err != nil || o.Format != 1 || o.Image != name || o.Version < 0 || o.Version > image.MaxVersion {
		return nil, fmt.Errorf("trust: this is not an order of format 1 for image %s", name)
	}
	return &o, nil
}

// ParseWipes takes an order only if all of it is understood and spelled as Check spells it: half of
// a permission is none.
func ParseWipes(b []byte) ([]WipeEntry, error) {
	var o WipeOrder
	if err := strict(b, &o); err != nil || o.Format != 1 {
		return nil, errors.New("trust: this is not a permission to wipe of format 1")
	}
	if len(o.Entries) > MaxWipes {
		return nil, fmt.Errorf("trust: %d permissions to wipe, at most %d", len(o.Entries), MaxWipes)
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
