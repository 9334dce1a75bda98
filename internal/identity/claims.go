package identity

import (
	"cmp"
	"slices"
)

// Claims is what a machine says of itself in one call, and the key that its connection shows.
type Claims struct {
	Key   string   // of the connection; "" = none
	Lasts bool     // the key lies on a finished disk, so it is the same at the next start
	MACs  []string // as ParseMAC spells them, of wired ports that stay in the machine
	UUID  string   // as FoldUUID spells it; "" = none, or a placeholder
	// Carried are the addresses of adapters. They are no evidence: see Listing.Adapter.
	Carried []string
	All     string // everything it said, by which a machine without a name is known again
}

// evident tells whether there is anything but the key.
func (c *Claims) evident() bool { return len(c.MACs) > 0 || c.UUID != "" }

func (c *Claims) shares(other *Claims) bool {
	return slices.ContainsFunc(c.MACs, func(mac string) bool { return slices.Contains(other.MACs, mac) })
}

// Known is a record: what is known of one machine.
type Known struct {
	ID       string
	Claims   Claims // of its last check-in
	Pin      string // the key to which it is bound; "" = none yet
	Line     Line   // by which it was recognised last; zero = none
	Assigned bool   // Line is of an admin who assigned the machine, not of lab.yaml
	Doubt    string // what contradicts itself; such a record is that of a newcomer
}

// name is what people call the machine.
func (k *Known) name() string { return cmp.Or(k.Line.Name, "a machine that has no name now") }

// placed tells whether more than its own word says which machine the record is.
func (k *Known) placed() bool { return k.Line.Name != "" || k.Pin != "" }

// Line is what lab.yaml, or an admin's assignment, says of one machine.
type Line struct {
	Name string `json:"name,omitempty"`
	MAC  string `json:"mac,omitempty"`  // as ParseMAC spells it
	UUID string `json:"uuid,omitempty"` // as FoldUUID spells it
}

// fits tells whether a machine that says so may be the line's.
func (l *Line) fits(c *Claims) bool {
	return l.MAC != "" && slices.Contains(c.MACs, l.MAC) || l.UUID != "" && l.UUID == c.UUID
}

// Listing is what lab.yaml says of all machines. The zero value, and nil, name none.
type Listing struct {
	byName, byMAC, byUUID map[string]*Line
	void                  []string // UUIDs that many machines share here
}

// NewListing makes a listing; lines have addresses of their own. shared are further placeholders,
// as FoldUUID spells them.
func NewListing(lines []Line, shared []string) *Listing {
	l := &Listing{byName: map[string]*Line{}, byMAC: map[string]*Line{}, byUUID: map[string]*Line{}, void: shared}
	for i := range lines {
		x := &lines[i]
		l.byName[x.Name] = x
		if x.MAC != "" {
			l.byMAC[x.MAC] = x
		}
		if x.UUID != "" && !slices.Contains(shared, x.UUID) {
			l.byUUID[x.UUID] = x
		}
	}
	return l
}

// named returns the line of that name, nil if there is none.
func (l *Listing) named(name string) *Line {
	if l == nil {
		return nil
	}
	return l.byName[name]
}

// counted returns the claims without a UUID that many machines share.
func (l *Listing) counted(c Claims) Claims {
	if l != nil && slices.Contains(l.void, c.UUID) {
		c.UUID = ""
	}
	return c
}

// Adapter returns the name of the machine of which lab.yaml lists the address of an adapter that is
// plugged in here, "" if it lists none: a mistake that would otherwise stay a riddle.
func (l *Listing) Adapter(c *Claims) string {
	for _, mac := range c.Carried {
		if l != nil && l.byMAC[mac] != nil {
			return l.byMAC[mac].Name
		}
	}
	return ""
}

// find returns the lines of lab.yaml that are meant.
func (l *Listing) find(c *Claims) (lines []*Line) {
	if l == nil {
		return nil
	}
	for _, mac := range c.MACs {
		if x := l.byMAC[mac]; x != nil && !slices.Contains(lines, x) {
			lines = append(lines, x)
		}
	}
	if x := l.byUUID[c.UUID]; x != nil && !slices.Contains(lines, x) {
		lines = append(lines, x)
	}
	return lines
}
