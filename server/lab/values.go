package lab

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"time"
	"unicode/utf8"

	"troy/internal/identity"
	"troy/server/protocol"
)

// A scalar is a type with a spelling of its own. want says in words which.
type scalar interface {
	parse(text string) error
	want() string
	schema() map[string]any
}

// Name names an image, a room, a host or a release: 1 to 63 of letters, digits, dot, dash,
// underscore, beginning with a letter or digit.
type Name string

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func (n *Name) parse(s string) error { *n = Name(s); return match(namePattern, s) }
func (*Name) want() string {
	return "a name: 1 to 63 letters, digits, dots, dashes, underscores, beginning with a letter or digit"
}
func (*Name) schema() map[string]any { return pattern(namePattern.String()) }

// Zone is the name of an IANA time zone.
type Zone string

func (z *Zone) parse(s string) error {
	if s == "" || s == "Local" {
		return errWrong
	}
	_, err := time.LoadLocation(s)
	*z = Zone(s)
	return err
}
func (*Zone) want() string           { return "an IANA time zone such as Europe/Berlin" }
func (*Zone) schema() map[string]any { return map[string]any{"type": "string", "minLength": 1} }

// Mbit is a rate in millions of bits per second.
type Mbit float64

// Bytes returns the rate in bytes per second.
func (m Mbit) Bytes() int64 { return int64(float64(m) * 1e6 / 8) }

// Bounds of a bandwidth. With less than the least a single machine would take days.
const (
	mbitLeast = 1
	mbitMost  = 1_000_000
)

func (m *Mbit) parse(s string) error {
	f, err := strconv.ParseFloat(s, 64)
	*m = Mbit(f)
	if err == nil && !(f >= mbitLeast && f <= mbitMost) {
		return errWrong
	}
	return err
}
func (*Mbit) want() string {
	return fmt.Sprintf("megabits per second, from %d to %d", mbitLeast, mbitMost)
}
func (*Mbit) schema() map[string]any {
	return map[string]any{"type": "number", "minimum": mbitLeast, "maximum": mbitMost}
}

// Count is a number from 1.
type Count int

func (c *Count) parse(s string) error   { return whole((*int)(c), s, 1<<31-1) }
func (*Count) want() string             { return "a whole number from 1" }
func (*Count) schema() map[string]any   { return wholeSchema(1<<31 - 1) }
func (p *Percent) parse(s string) error { return whole((*int)(p), s, 100) }
func (*Percent) want() string           { return "a whole number from 1 to 100" }
func (*Percent) schema() map[string]any { return wholeSchema(100) }
func (g *Gib) parse(s string) error     { return whole((*int)(g), s, 1<<16) }
func (*Gib) want() string               { return "a whole number of GiB from 1 to 65536" }
func (*Gib) schema() map[string]any     { return wholeSchema(1 << 16) }

// Seconds is a time from 1 s to 10 minutes.
type Seconds int

func (n *Seconds) parse(s string) error { return whole((*int)(n), s, protocol.MaxLink) }
func (*Seconds) want() string {
	return fmt.Sprintf("a whole number of seconds from 1 to %d", protocol.MaxLink)
}
func (*Seconds) schema() map[string]any { return wholeSchema(protocol.MaxLink) }

// Percent is a number from 1 to 100.
type Percent int

// Gib is a size in units of 2³⁰ bytes.
type Gib int

// Bytes returns the size in bytes.
func (g Gib) Bytes() int64 { return int64(g) << 30 }

// Merge is a merge policy: lazy or now.
type Merge string

func (m *Merge) parse(s string) error { *m = Merge(s); return oneOf(s, "lazy", "now") }
func (*Merge) want() string           { return "lazy or now" }
func (*Merge) schema() map[string]any { return enum("lazy", "now") }

// Starts says whether each start of a machine is one of the agent.
type Starts string

func (v *Starts) parse(s string) error { *v = Starts(s); return oneOf(s, "agent", "direct") }
func (*Starts) want() string           { return "agent or direct" }
func (*Starts) schema() map[string]any { return enum("agent", "direct") }

// Reset says when the session of Windows is thrown away.
type Reset string

// Reset policies.
const (
	ResetBoot   Reset = "boot"   // at every start
	ResetUpdate Reset = "update" // only when a new version comes
	ResetKey    Reset = "key"    // then, and when a person at the machine presses R
)

func (r *Reset) parse(s string) error { *r = Reset(s); return oneOf(s, "boot", "update", "key") }
func (*Reset) want() string           { return "boot, update or key" }
func (*Reset) schema() map[string]any { return enum("boot", "update", "key") }

// AtClose says what a machine does that is at work when the window closes.
type AtClose string

// What to do at the end of a window.
const (
	CloseStop   AtClose = "stop"   // begin nothing long, pause the merge, start Windows
	CloseFinish AtClose = "finish" // go on until it is done
)

func (a *AtClose) parse(s string) error { *a = AtClose(s); return oneOf(s, "stop", "finish") }
func (*AtClose) want() string           { return "stop or finish" }
func (*AtClose) schema() map[string]any { return enum("stop", "finish") }

// URL is the base URL of a store.
type URL string

func (u *URL) parse(s string) error {
	v, err := url.Parse(s)
	*u = URL(s)
	if err == nil && (v.Scheme != "http" && v.Scheme != "https" || v.Host == "" || len(s) > 256) {
		return errWrong
	}
	return err
}
func (*URL) want() string { return "a URL that begins with http:// or https://" }
func (*URL) schema() map[string]any {
	return map[string]any{"type": "string", "pattern": "^https?://", "maxLength": 256}
}

// MAC is a MAC address as identity.ParseMAC spells it.
type MAC string

func (m *MAC) parse(s string) (err error) {
	*(*string)(m), err = identity.ParseMAC(s)
	return err
}
func (*MAC) want() string           { return "a MAC address of one port, such as 52:54:00:12:34:56" }
func (*MAC) schema() map[string]any { return pattern(identity.MACPattern) }

// UUID is an SMBIOS system UUID as identity.ParseUUID spells it.
type UUID string

func (u *UUID) parse(s string) (err error) {
	*(*string)(u), err = identity.ParseUUID(s)
	return err
}
func (*UUID) want() string           { return "a UUID such as 4c4c4544-0000-1000-8000-000000000001" }
func (*UUID) schema() map[string]any { return pattern(identity.UUIDPattern) }

// folded is the spelling by which UUIDs are compared.
func (u UUID) folded() string {
	if u == "" {
		return ""
	}
	return identity.FoldUUID(string(u))
}

// Contact says whom to call, in one line that fits a screen.
type Contact string

// contactMost is how many characters a Contact has at most; protocol.MaxText bounds its bytes.
const contactMost = 80

func (c *Contact) parse(s string) error {
	*c = Contact(s)
	if s == "" || utf8.RuneCountInString(s) > contactMost || protocol.Clean(s, protocol.MaxText) != s {
		return errWrong
	}
	return nil
}
func (*Contact) want() string {
	return fmt.Sprintf("one line of 1 to %d characters without control characters", contactMost)
}
func (*Contact) schema() map[string]any {
	return map[string]any{"type": "string", "minLength": 1, "maxLength": contactMost}
}

// IP is an IPv4 address.
type IP netip.Addr

func (a *IP) parse(s string) error {
	v, err := netip.ParseAddr(s)
	*a = IP(v)
	if err == nil && !v.Is4() {
		return errWrong
	}
	return err
}
func (*IP) want() string           { return "an IPv4 address such as 10.2.4.255" }
func (*IP) schema() map[string]any { return map[string]any{"type": "string", "format": "ipv4"} }

// errWrong is every fault of a spelling; the text that people see is of want.
var errWrong = fmt.Errorf("wrong spelling")

func match(p *regexp.Regexp, s string) error {
	if !p.MatchString(s) {
		return errWrong
	}
	return nil
}

func oneOf(s string, words ...string) error {
	for _, w := range words {
		if s == w {
			return nil
		}
	}
	return errWrong
}

func whole(v *int, s string, most int) error {
	n, err := strconv.Atoi(s)
	*v = n
	if err == nil && (n < 1 || n > most) {
		return errWrong
	}
	return err
}

func wholeSchema(most int) map[string]any {
	return map[string]any{"type": "integer", "minimum": 1, "maximum": most}
}

func pattern(p string) map[string]any {
	return map[string]any{"type": "string", "pattern": p}
}

func enum(words ...any) map[string]any { return map[string]any{"type": "string", "enum": words} }

// CheckName returns an error unless s can name a host.
func CheckName(s string) error {
	var n Name
	if n.parse(s) != nil {
		return fmt.Errorf("%q: want %s", s, n.want())
	}
	return nil
}
