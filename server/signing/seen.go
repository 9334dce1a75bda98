package signing

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"troy/image/trust"
	"troy/server/protocol"
	"troy/server/rooms"
)

// Seen is what the machines tell of one number of the signed metadata: below it they take nothing.
type Seen struct {
	What      string // it is the number of
	Have      int64  // in the store
	Low, High int64  // the lowest and the highest that a machine tells
	By        string // the machine that tells the highest
}

// Ahead says that a machine has seen a number that the store does not have.
func (s *Seen) Ahead() bool { return s.High > s.Have }

// String is a line for people.
func (s *Seen) String() string {
	spread := fmt.Sprint(s.High)
	if s.Low != s.High {
		spread = fmt.Sprintf("%d to %d", s.Low, s.High)
	}
	return fmt.Sprintf("%s: %d here, %s on PCs (the highest: %s)", s.What, s.Have, spread, s.By)
}

// Told is what all machines tell.
type Told struct {
	Machines int // that tell anything
	Numbers  []Seen
	Highest  trust.Numbers
}

// Ahead are the numbers that the store does not have: it was restored from an old backup. An image
// that the store has not may have been given up, and says nothing by itself.
func (t *Told) Ahead() (list []Seen) {
	for _, s := range t.Numbers {
		if s.Ahead() && (s.Have > 0 || len(list) > 0) {
			list = append(list, s)
		}
	}
	return list
}

// Compare takes what machines that are known by their keys tell of the store that has these numbers.
// What others say counts for nothing: one forged report would use up the numbers.
func Compare(list []rooms.Host, have trust.Numbers) *Told {
	t := &Told{Highest: trust.Numbers{Store: have.Store, Images: map[string]int{}}}
	seen := map[string]*Seen{}
	note := func(what string, have, n int64, by string) {
		s := seen[what]
		if s == nil {
			s = &Seen{What: what, Have: have, Low: n}
			seen[what] = s
		}
		s.Low = min(s.Low, n)
		if n > s.High {
			s.High, s.By = n, by
		}
	}
	for _, h := range list {
		m := h.Trusted
		if m == nil || !h.Keyed || m.Store != have.Store {
			continue
		}
		t.Machines++
		t.Highest.Raise(numbersOf(m))
		by := cmp.Or(h.Name, h.ID)
		note("1 root", have.Root, m.Root, by)
		note("2 timestamp", have.Timestamp, m.Timestamp, by)
		note("3 snapshot", have.Snapshot, m.Snapshot, by)
		note("4 list of targets", have.Targets, m.Targets, by)
		note("5 list of servers", int64(have.Servers), int64(m.Servers), by)
		for _, i := range m.Images {
			note("6 newest version of "+i.Image, int64(have.Images[i.Image]), int64(i.Version), by)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(seen)) {
		s := seen[what]
		s.What = what[2:]
		t.Numbers = append(t.Numbers, *s)
	}
	return t
}

func numbersOf(t *protocol.Trusted) trust.Numbers {
	n := trust.Numbers{Root: t.Root, Targets: t.Targets, Snapshot: t.Snapshot, Timestamp: t.Timestamp, Servers: t.Servers, Images: map[string]int{}}
	for _, h := range t.Images {
		n.Images[h.Image] = h.Version
	}
	return n
}
