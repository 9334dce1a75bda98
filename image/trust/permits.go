package trust

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"troy/image"
	"troy/image/trust/internal/tree"
	"troy/internal/format"
	"troy/internal/tlskey"
)

// PermitsKind is the format of permits.json.
var PermitsKind = format.Kind{Name: tree.Permits, Number: 1, Oldest: 1}

// MaxPermits is how many permits a store has at most.
const MaxPermits = 4096

const (
	maxSerial = 128 // bytes of a serial number
	maxCalled = 128 // bytes of Permit.Name
)

// Scope is what a permit permits. None implies another.
type Scope string

// Scopes.
const (
	Wipe      Scope = "wipe"      // a disk that holds something becomes one of Troy's: all on it is lost
	Reinstall Scope = "reinstall" // a version is written over the one of a machine that boots
	Downgrade Scope = "downgrade" // an older version than the machine ever had comes back
	Capture   Scope = "capture"   // a version is made of what the machine holds
	Free      Scope = "free"      // room is made on a disk beside what it holds
	Clear     Scope = "clear"     // what the machine keeps beside the version is emptied
)

// Scopes are all of them.
func Scopes() []Scope { return []Scope{Wipe, Reinstall, Downgrade, Capture, Free, Clear} }

// Losing says what is lost by it, for the person who signs; "" = nothing that is not named by it.
func (s Scope) Losing() string {
	switch s {
	case Wipe:
		return "all of the disk is erased: Windows, every other partition on it, D: and recovery included"
	case Reinstall:
		return "what Windows on it holds beside D: is replaced"
	case Clear:
		return "what is kept on it beside the version is emptied"
	}
	return ""
}

// Permits is the document permits.json: what machines may do only by the admin's signature,
// whatever a server says.
type Permits struct {
	format.Head
	Permits []Permit `json:"permits"`

	Unknown format.Unknown `json:",embed"`
}

// Encode returns the document as it is signed.
func (d *Permits) Encode() ([]byte, error) {
	c := *d
	PermitsKind.Stamp(&c.Head)
	return format.Marshal(&c)
}

// Permit permits one thing to one machine or on one disk. Key or Disk is there, not both.
type Permit struct {
	Scope Scope `json:"scope"`
	// Key is the public key of the machine (internal/tlskey).
	Key string `json:"key,omitempty"`
	// Disk is the serial number of a disk, as the kernel tells it, without spaces around. Case does
	// not matter.
	Disk string `json:"disk,omitempty"`
	// Image and Version are what a Downgrade goes to.
	Image   string `json:"image,omitempty"`
	Version int    `json:"version,omitempty"`
	// Name is what the admin called the machine. It is for people: no machine compares it.
	Name string `json:"name,omitempty"`
	// Signed is when it was signed, Until when it ends.
	Signed time.Time `json:"signed"`
	Until  time.Time `json:"until"`

	// Unknown is what a newer program said of it: it may be a condition, so that this program takes
	// the permit for none.
	Unknown format.Unknown `json:",embed"`
}

// String names what it permits, and to whom.
func (p Permit) String() string {
	text := string(p.Scope)
	if p.Scope == Downgrade {
		text = fmt.Sprintf("%s to %s version %d", p.Scope, p.Image, p.Version)
	}
	if p.Name != "" {
		text += " " + p.Name
	}
	if p.Disk != "" {
		text += fmt.Sprintf(" disk %q", p.Disk)
	}
	if p.Key != "" {
		text += fmt.Sprintf(" key %s", p.Key)
	}
	return text + " until " + p.Until.UTC().Format("2006-01-02 15:04 MST")
}

// Same tells whether one takes the place of the other: the same thing for the same machine or disk.
func (p Permit) Same(q Permit) bool {
	return p.Scope == q.Scope && p.Key == q.Key && strings.EqualFold(p.Disk, q.Disk) && p.Image == q.Image
}

// Check returns ErrInvalid (of package image) for a permit that permits nothing, or that many
// machines or disks have in common, and spells it as it is compared.
func (p *Permit) Check() error {
	p.Disk, p.Signed, p.Until = strings.TrimSpace(p.Disk), p.Signed.UTC().Truncate(time.Second), p.Until.UTC().Truncate(time.Second)
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w permit: %s", image.ErrInvalid, fmt.Sprintf(format, args...))
	}
	switch {
	case !slices.Contains(Scopes(), p.Scope):
		return bad("%q is not one of %v", p.Scope, Scopes())
	case (p.Key == "") == (p.Disk == ""):
		return bad("want the key of a machine or the serial number of a disk, one of them")
	case p.Key != "" && !tlskey.IsName(p.Key):
		return bad("%q is not the key of a machine (64 hex digits)", p.Key)
	case p.Disk != "" && !goodSerial(p.Disk):
		return bad("%q is not the serial number of one disk (4 to %d printable characters, not all alike)", p.Disk, maxSerial)
	case !printable(p.Name) || len(p.Name) > maxCalled:
		return bad("the name %q", p.Name)
	case p.Until.IsZero():
		return bad("it has no end")
	case (p.Scope == Downgrade) != (p.Image != "") || (p.Scope == Downgrade) != (p.Version > 0) || p.Version < 0 || p.Version > image.MaxVersion:
		return bad("a downgrade, and nothing else, names an image and a version")
	case p.Image != "" && image.CheckName(p.Image) != nil:
		return bad("%q is not the name of an image", p.Image)
	}
	return nil
}

// goodSerial refuses what makers leave in when they give no number.
func goodSerial(s string) bool {
	return len(s) >= 4 && len(s) <= maxSerial && strings.Count(s, s[:1]) != len(s) && printable(s)
}

func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// Use is what a machine is about to do, and who it is by its own word: it compares its own key.
type Use struct {
	Scope   Scope
	Key     string // its public key
	Disk    string // serial number of the disk that it is about; "" = it has none
	Image   string // for a Downgrade
	Version int    // likewise
}

// String names it for an error.
func (u Use) String() string {
	switch u.Scope {
	case Downgrade:
		return fmt.Sprintf("going back to version %d of %s", u.Version, u.Image)
	case Wipe:
		return fmt.Sprintf("wiping disk %q", strings.TrimSpace(u.Disk))
	}
	return string(u.Scope)
}

// Void returns why a permit that is signed permits nothing: half of a permit is none. nil = it is
// understood.
func (p *Permit) Void() error {
	if len(p.Unknown) > 0 {
		return fmt.Errorf("it says more than this program (%s) understands: install a newer Troy", format.Release)
	}
	now := *p
	if err := now.Check(); err != nil {
		return err
	}
	if p.Disk != now.Disk || !p.Until.Equal(now.Until) || !p.Signed.Equal(now.Signed) {
		return errors.New("it is not spelled as this program writes it")
	}
	return nil
}

// Allows says whether a permit is for this use, now.
func (p *Permit) Allows(u Use, now time.Time) bool {
	if p.Void() != nil {
		return false
	}
	mine := p.Key != "" && p.Key == u.Key || p.Disk != "" && strings.EqualFold(p.Disk, strings.TrimSpace(u.Disk))
	return mine && p.Scope == u.Scope && p.Image == u.Image && p.Version == u.Version && !now.After(p.Until)
}

// ParsePermits reads the document. Permits that are not understood are in it, and permit nothing
// (Permit.Void).
func ParsePermits(b []byte) (*Permits, error) {
	var d Permits
	if err := PermitsKind.Read(b, &d); err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	if len(d.Permits) > MaxPermits {
		return nil, fmt.Errorf("trust: %d permits, at most %d", len(d.Permits), MaxPermits)
	}
	return &d, nil
}
