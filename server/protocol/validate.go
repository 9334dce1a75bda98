package protocol

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"unicode/utf8"
)

// ErrInvalid is the class of everything Validate finds.
var ErrInvalid = errors.New("invalid message")

// ErrVersion is returned for a protocol number that is not known. It is an ErrInvalid.
var ErrVersion = fmt.Errorf("%w: protocol", ErrInvalid)

// Key names the machine for the server's records: its UUID, else its first
// MAC address.
func (m *Machine) Key() string {
	if m.UUID != "" {
		return m.UUID
	}
	return m.MACs[0]
}

// Validate checks everything that can be checked without knowing the machine.
func (m *Machine) Validate() error {
	if len(m.MACs) == 0 && m.UUID == "" {
		return invalid("machine: neither macs nor uuid")
	}
	if len(m.MACs) > MaxMACs {
		return invalid("machine: %d macs, at most %d", len(m.MACs), MaxMACs)
	}
	for i, s := range m.MACs {
		if mac, err := net.ParseMAC(s); err != nil || mac.String() != s {
			return invalid("machine: macs[%d] is no lower-case MAC address with colons", i)
		}
	}
	return texts(MaxText, "uuid", m.UUID, "serial", m.Serial, "vendor", m.Vendor, "product", m.Product)
}

// Validate checks the message; the error is an ErrInvalid.
func (c *CheckIn) Validate() error {
	if c.Version < 0 || c.Staged < 0 || c.Version > math.MaxInt32 || c.Staged > math.MaxInt32 {
		return invalid("version %d, staged %d", c.Version, c.Staged)
	}
	return errors.Join(
		version(c.Protocol),
		c.Machine.Validate(),
		texts(MaxText, "agent", c.Agent, "image", c.Image, "detail", c.Detail),
	)
}

// Validate checks the message; the error is an ErrInvalid.
func (o *Order) Validate() error {
	if err := errors.Join(version(o.Protocol), texts(MaxText, "image", o.Image, "repo", o.Repo, "reason", o.Reason)); err != nil {
		return err
	}
	switch {
	case o.Action == ActionNone:
		return nil
	case o.Action != ActionDeploy:
		return invalid("action %q", o.Action)
	case o.Image == "" || o.Version < 1 || o.Version > math.MaxInt32:
		return invalid("deploy image %q version %d", o.Image, o.Version)
	case o.Merge != MergeNow && o.Merge != MergeLazy:
		return invalid("merge %q", o.Merge)
	}
	return nil
}

// Validate checks the message; the error is an ErrInvalid.
func (r *Report) Validate() error {
	switch r.Outcome {
	case OutcomeDone, OutcomeKept, OutcomeFailed:
	default:
		return invalid("outcome %q", r.Outcome)
	}
	if len(r.Phases) > MaxPhases {
		return invalid("%d phases, at most %d", len(r.Phases), MaxPhases)
	}
	if r.Version < 0 || r.Version > math.MaxInt32 {
		return invalid("version %d", r.Version)
	}
	for i, p := range r.Phases {
		if !(p.Seconds >= 0) || p.Bytes < 0 || texts(MaxText, "name", p.Name) != nil {
			return invalid("phases[%d]", i)
		}
	}
	return errors.Join(
		version(r.Protocol),
		r.Machine.Validate(),
		texts(MaxText, "id", r.ID, "agent", r.Agent, "image", r.Image),
		texts(MaxDetail, "message", r.Message),
	)
}

func version(got int) error {
	if got != Version {
		return fmt.Errorf("%w %d, this program speaks %d", ErrVersion, got, Version)
	}
	return nil
}

func invalid(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, a...))
}

// Clean makes a text that Validate takes of one that a firmware or an error
// gave: valid UTF-8, control characters as spaces, at most max bytes, no character cut.
func Clean(s string, max int) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if control(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?")))
	if len(s) > max {
		end := max
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	return strings.TrimSpace(s)
}

func control(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }

// texts checks pairs of name and text: valid UTF-8, no control characters but the
// line feed, at most max bytes.
func texts(max int, pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		name, s := pairs[i], pairs[i+1]
		if len(s) > max {
			return invalid("%s: %d bytes, at most %d", name, len(s), max)
		}
		if !utf8.ValidString(s) {
			return invalid("%s: not UTF-8", name)
		}
		for _, r := range s {
			if control(r) {
				return invalid("%s: control character %U", name, r)
			}
		}
	}
	return nil
}
