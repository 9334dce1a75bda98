package identity

import (
	"slices"
	"strings"
)

// Verdict says which machine it is.
type Verdict struct {
	ID    string // of the record; "" = a new one
	Line  Line   // of lab.yaml; zero = it names no such machine
	Doubt string // in a line, why the machine is unknown although something names it; "" = no doubt
	// Against is the record of which the newcomer has the evidence without the key, "" = none. An
	// admin who has seen both machines may replace it.
	Against string
	Drop    []string // records that it makes superfluous
	Note    string   // a change that is no contradiction
}

// Judge says which of the known machines it is that claims this, if any. It changes nothing.
func Judge(c Claims, l *Listing, known []Known) Verdict {
	j := judge{c: l.counted(c), l: l, known: slices.Clone(known)}
	slices.SortFunc(j.known, func(a, b Known) int { return strings.Compare(a.ID, b.ID) })
	v := j.judge()
	own := j.own(v.Line.Name != "")
	switch {
	case v.ID == "":
		v.ID = own
	case own != "":
		v.Drop = append(v.Drop, own) // of the time when it was unknown
	}
	return v
}

type judge struct {
	c     Claims
	l     *Listing
	known []Known
}

// first returns the first record that is so, nil if none is.
func (j *judge) first(is func(k *Known) bool) *Known {
	for i := range j.known {
		if is(&j.known[i]) {
			return &j.known[i]
		}
	}
	return nil
}

func (j *judge) judge() Verdict {
	p := j.first(func(k *Known) bool { return k.Doubt == "" && k.Pin != "" && k.Pin == j.c.Key })
	lab := j.l.find(&j.c)
	line, h, doubt := j.meant(lab)
	switch {
	case p != nil && doubt != "":
		return Verdict{Doubt: "it has the key of " + p.name() + ", but " + doubt}
	case p != nil:
		return j.pinned(p, line, h)
	case doubt != "":
		return Verdict{Doubt: doubt}
	case line != nil:
		return j.listed(line, h)
	}
	// Nothing names it. It may still have the address of one that is known by its key.
	if k := j.first(func(k *Known) bool { return k.Pin != "" && j.names(k) }); k != nil {
		return Verdict{Doubt: "it has the address of " + k.name() + ", but not its key", Against: k.ID}
	}
	return Verdict{}
}

// meant finds the line that the addresses name, and the record that has it; both are nil where
// there is none. doubt says that they name two machines.
func (j *judge) meant(lab []*Line) (line *Line, h *Known, doubt string) {
	lines := slices.Clone(lab)
	for i := range j.known {
		k := &j.known[i]
		if k.Assigned && k.Doubt == "" && k.Line.fits(&j.c) {
			lines = append(lines, &k.Line)
			h = k
		}
	}
	if len(lab) > 0 {
		if holder := j.holder(lab[0]); holder != nil {
			h = holder
		} else if len(lines) == 2 && len(lab) == 1 {
			lines = lab // lab.yaml lists now what an admin had assigned
		}
	}
	switch {
	case len(lines) == 0:
		return nil, nil, ""
	case len(lines) > 1:
		return nil, nil, "it has the addresses of " + lines[0].Name + " and of " + lines[1].Name
	}
	return lines[0], h, ""
}

// holder is the record that has a line of lab.yaml.
func (j *judge) holder(line *Line) *Known {
	return j.first(func(k *Known) bool { return k.Doubt == "" && !k.Assigned && k.Line.Name == line.Name })
}

// names tells whether the claims have an address of a record.
func (j *judge) names(k *Known) bool {
	return j.c.shares(&k.Claims) || j.c.UUID != "" && j.c.UUID == k.Claims.UUID
}

// pinned judges who has the key of a record. Where the hardware, or the line that its addresses
// name, is of another machine, it is a copy.
func (j *judge) pinned(p *Known, line *Line, h *Known) Verdict {
	v := Verdict{ID: p.ID, Line: p.Line}
	if !p.Assigned && j.l.named(p.Line.Name) == nil {
		v.Line = Line{}
	}
	was := j.l.counted(p.Claims)
	switch {
	case line != nil && line.Name == v.Line.Name:
		v.Line = *line
	case j.c.evident() && was.evident() && !j.c.shares(&was) && (j.c.UUID == "" || j.c.UUID != was.UUID):
		return Verdict{Doubt: "it has the key of " + p.name() + ", but neither its MAC address nor its UUID"}
	case line != nil && (v.Line.Name != "" && !p.Assigned || h != nil && h.ID != p.ID):
		return Verdict{Doubt: "it has the key of " + p.name() + ", but the address of " + line.Name}
	case line != nil:
		v.Line = *line
	}
	if was.UUID != "" && j.c.UUID != "" && was.UUID != j.c.UUID {
		v.Note = "its UUID was " + was.UUID + " and is now " + j.c.UUID
	}
	return v
}

// listed judges who has the address of a line, and no pinned key. h has the line so far.
func (j *judge) listed(line *Line, h *Known) Verdict {
	v := Verdict{Line: *line}
	switch {
	case h != nil && !h.Assigned && h.Line != *line && !line.fits(&h.Claims):
		v.Drop, h = []string{h.ID}, nil // lab.yaml has changed: this is its successor
	case h != nil && h.Pin != "":
		return Verdict{Doubt: "it has the address of " + line.Name + ", but not its key", Against: h.ID}
	case h != nil:
		v.ID = h.ID
	}
	if line.UUID != "" && j.c.UUID != "" && line.UUID != j.c.UUID {
		return Verdict{Doubt: "it has the MAC address of " + line.Name + ", but the UUID " + j.c.UUID + " instead of " + line.UUID}
	}
	other := j.first(func(k *Known) bool {
		return k.Pin != "" && (h == nil || k.ID != h.ID) && !slices.Contains(v.Drop, k.ID) && j.names(k)
	})
	if other != nil {
		return Verdict{Doubt: "it has the address of " + line.Name + ", and one of " + other.name()}
	}
	return v
}

// own finds the record of this machine from when nothing but its own word said who it is; "" if
// there is none. One that is known by now has to have said exactly the same.
func (j *judge) own(exactly bool) string {
	if k := j.first(func(k *Known) bool { return !k.placed() && j.same(k, exactly) }); k != nil {
		return k.ID
	}
	return ""
}

// same tells whether an unknown machine is the one of a record. A key that lasts decides alone:
// else a forger could get into the record whose code an admin reads on the screen of another.
func (j *judge) same(k *Known, exactly bool) bool {
	c, o := &j.c, &k.Claims
	if c.Lasts || o.Lasts || !c.evident() {
		return c.Key == o.Key && (c.Key != "" || c.All == o.All)
	}
	return c.All == o.All || !exactly && c.UUID == o.UUID && (c.shares(o) || c.UUID != "" && (len(c.MACs) == 0 || len(o.MACs) == 0))
}
