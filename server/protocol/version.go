package protocol

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"troy/internal/format"
)

// Version is the protocol that this package describes, and Oldest the oldest that it still speaks:
// that of release 0.2. A release raises Version once at most.
const (
	Version = 5 + format.Raised
	Oldest  = 5
)

// OrderKind is the format of orders. A word is something without which an agent must not follow one.
var OrderKind = format.Kind{Name: "the order", Number: 5, Oldest: 5}

// Members that the messages of every protocol have, with the same meaning: an agent and a server
// that have nothing else in common say by them who is too old, and the agent gets the release of
// itself that the server understands.
var (
	baseCheckIn  = []string{"protocol", "oldest", "machine", "agent"}
	baseOrder    = []string{"protocol", "newest", "time", "repo", "mirrors", "agent", "servers", "name", "code", "reason"}
	baseProgress = []string{"protocol", "machine"}
	baseReport   = []string{"protocol", "id", "machine", "agent", "outcome", "exit_code", "message"}
)

// Common is the protocol in which an agent is answered: the highest that it and this program speak,
// 0 if there is none.
func (c *CheckIn) Common() int {
	n := min(c.Protocol, Version)
	if n < Oldest || n < c.Oldest {
		return 0
	}
	return n
}

// Refused says why this program and an agent have no protocol in common; "" = they have one, or
// nothing is known of the agent.
func (c *CheckIn) Refused() string {
	switch {
	case c.Protocol == 0 || c.Common() > 0:
		return ""
	case c.Protocol < Oldest:
		return fmt.Sprintf("its agent is too old: it speaks protocol %d, this server %s; it starts what it has and gets the current release of the agent",
			c.Protocol, span(Oldest, Version))
	}
	return fmt.Sprintf("its agent is too new: it speaks protocol %s, this server %s; it starts what it has; install a newer Troy on the server",
		span(cmp.Or(c.Oldest, c.Protocol), c.Protocol), span(Oldest, Version))
}

// Spoken names the protocols that this program speaks.
func Spoken() string { return "protocol " + span(Oldest, Version) }

func span(from, to int) string {
	if from == to {
		return fmt.Sprint(to)
	}
	return fmt.Sprintf("%d to %d", from, to)
}

// For is the order as the sender of a check-in understands it: in the highest protocol that both
// speak. Where there is none it is what orders of every protocol have.
func (o Order) For(c *CheckIn) (Order, error) {
	n := c.Common()
	o.Newest = Version
	if n == 0 {
		b, err := format.Marshal(&o)
		o = Order{}
		if err == nil {
			err = reduced(b, baseOrder, &o)
		}
		o.Protocol, o.Reason = min(c.Protocol, Version), Clean(c.Refused(), MaxText)
		return o, err
	}
	if o.Protocol = n; n == Version {
		h := format.Head{Needs: o.Needs}
		OrderKind.Stamp(&h)
		o.Needs = h.Needs
	}
	return o, nil
}

// ReadOrder reads and checks an order. Of one that this program does not understand it returns what
// orders of every protocol have: it wants and permits nothing, and Refused says why.
func ReadOrder(b []byte) (*Order, error) {
	var is struct {
		Protocol int      `json:"protocol"`
		Needs    []string `json:"needs"`
	}
	var o Order
	if err := format.Unmarshal(b, &is); err != nil {
		return nil, err
	}
	err := OrderKind.Check(format.Head{Format: is.Protocol, Needs: is.Needs})
	var lacks *format.NeedsError
	var old *format.OldError
	switch {
	case errors.As(err, &lacks):
		o.Lacks, o.Refused = lacks.Words, err.Error()
	case errors.As(err, &old):
		o.Refused = fmt.Sprintf("the server speaks protocol %d, this agent %s: install a newer Troy on the server", old.Format, span(Oldest, Version))
	case err != nil:
		return nil, err
	default:
		return &o, read(b, &o)
	}
	if err := reduced(b, baseOrder, &o); err != nil {
		return nil, err
	}
	return &o, o.Validate()
}

// ReadCheckIn reads and checks a check-in. Of an agent with which this program has no protocol in
// common it is only what check-ins of every protocol have.
func ReadCheckIn(b []byte) (*CheckIn, error) {
	var c CheckIn
	if err := reduced(b, baseCheckIn, &c); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil || c.Common() == 0 {
		return &c, err
	}
	return &c, read(b, &c)
}

// ReadProgress reads and checks a progress. Of a strange protocol it is only what all have.
func ReadProgress(b []byte) (*Progress, error) {
	var p Progress
	if err := reduced(b, baseProgress, &p); err != nil {
		return nil, err
	}
	if strange(p.Protocol) {
		return &p, p.Validate()
	}
	return &p, read(b, &p)
}

// ReadReport reads and checks a report. Of a strange protocol it is only what all have, and an
// outcome that this program does not know is a failure.
func ReadReport(b []byte) (*Report, error) {
	var r Report
	if err := reduced(b, baseReport, &r); err != nil {
		return nil, err
	}
	if !strange(r.Protocol) {
		return &r, read(b, &r)
	}
	if !r.Outcome.known() {
		r.Outcome = OutcomeFailed
	}
	return &r, r.Validate()
}

// strange tells whether this program does not speak a protocol.
func strange(n int) bool { return n < Oldest || n > Version }

// read reads and checks a whole message.
func read(b []byte, v interface{ Validate() error }) error {
	if err := format.Unmarshal(b, v); err != nil {
		return err
	}
	return v.Validate()
}

// reduced reads the named members of a message alone: others may have other types in its protocol.
// One that is spelled like a named one but for its case is left in, and refused.
func reduced(b []byte, names []string, v any) error {
	var all map[string]format.Unknown
	if err := format.Unmarshal(b, &all); err != nil {
		return err
	}
	maps.DeleteFunc(all, func(name string, _ format.Unknown) bool {
		return !slices.ContainsFunc(names, func(known string) bool { return strings.EqualFold(name, known) })
	})
	b, err := format.Marshal(all)
	if err != nil {
		return err
	}
	return format.Unmarshal(b, v)
}
