package identity

import (
	"cmp"
	"maps"
	"slices"
)

// Register holds the records, with an index over what could make one count for a verdict. The zero
// value is empty.
type Register struct {
	known map[string]Known
	index map[string]map[string]bool // evidence → ids
}

// Put takes a record, in place of the one of the same id.
func (r *Register) Put(k Known) {
	if r.known == nil {
		r.known, r.index = map[string]Known{}, map[string]map[string]bool{}
	}
	r.Drop(k.ID)
	r.known[k.ID] = k
	for _, e := range k.evidence() {
		if r.index[e] == nil {
			r.index[e] = map[string]bool{}
		}
		r.index[e][k.ID] = true
	}
}

// Drop forgets a record.
func (r *Register) Drop(id string) {
	k, ok := r.known[id]
	if !ok {
		return
	}
	delete(r.known, id)
	for _, e := range k.evidence() {
		if delete(r.index[e], id); len(r.index[e]) == 0 {
			delete(r.index, e)
		}
	}
}

// Get returns a record; its id is "" if there is none.
func (r *Register) Get(id string) Known { return r.known[id] }

func (c *Claims) evidence() []string {
	all := []string{"key " + c.Key, "all " + c.All, "uuid " + c.UUID}
	for _, mac := range c.MACs {
		all = append(all, "mac "+mac)
	}
	return all
}

func (k *Known) evidence() []string {
	return append(k.Claims.evidence(), "key "+k.Pin, "name "+k.Line.Name, "mac "+k.Line.MAC, "uuid "+k.Line.UUID)
}

// Judge is the function of that name on the records that can count.
func (r *Register) Judge(c Claims, l *Listing) Verdict {
	evidence := c.evidence()
	for _, line := range l.find(&c) {
		evidence = append(evidence, "name "+line.Name)
	}
	ids := map[string]bool{}
	for _, e := range evidence {
		if e != "key " && e != "uuid " {
			maps.Copy(ids, r.index[e])
		}
	}
	known := make([]Known, 0, len(ids))
	for id := range ids {
		known = append(known, r.known[id])
	}
	return Judge(c, l, known)
}

// Admit judges who checks in, and takes what it claims into its record: a new one, of the id that
// is given, if the verdict names none. A machine that something vouches for is bound to a key that
// lasts.
func (r *Register) Admit(c Claims, l *Listing, id string) (Known, Verdict) {
	v := r.Judge(c, l)
	v.ID = cmp.Or(v.ID, id)
	k := r.known[v.ID]
	if k.Line != v.Line {
		k.Assigned = k.Assigned && l.named(v.Line.Name) == nil && v.Line.Name != ""
	}
	k.ID, k.Claims, k.Line, k.Doubt = v.ID, c, v.Line, v.Doubt
	if k.Line.Name != "" && k.Pin == "" && c.Lasts {
		k.Pin = c.Key
	}
	for _, old := range v.Drop {
		r.Drop(old)
	}
	r.Put(k)
	return k, v
}

// Whose returns the record of the machine that goes on with a start at which it was admitted; its
// id is "" if no record knows it by this key.
func (r *Register) Whose(c Claims, l *Listing) Known {
	k := r.known[r.Judge(c, l).ID]
	if k.Pin == c.Key && c.Key != "" || k.Pin == "" && k.Claims.Key == c.Key {
		return k
	}
	return Known{}
}

// Relist takes another lab.yaml: a record follows the line that has its address. One whose address
// is in no line keeps the line it has, unless another record now has it: then it is a ghost, and is
// dropped. It returns the records that changed.
func (r *Register) Relist(l *Listing) (changed []Known, dropped []string) {
	taken := map[string]bool{}
	var stray []Known
	for _, k := range r.inOrder() {
		if k.Doubt != "" || k.Line.Name == "" {
			continue
		}
		c := l.counted(k.Claims)
		lines := l.find(&c)
		switch {
		case len(lines) == 1 && !taken[lines[0].Name]:
			taken[lines[0].Name] = true
			if k.Line != *lines[0] || k.Assigned {
				k.Line, k.Assigned = *lines[0], false
				changed = append(changed, k)
			}
		case !k.Assigned:
			stray = append(stray, k)
		}
	}
	for _, k := range stray {
		switch {
		case taken[k.Line.Name]:
			dropped = append(dropped, k.ID)
			continue
		case l.named(k.Line.Name) != nil:
			taken[k.Line.Name] = true
			continue
		}
		k.Line = Line{}
		changed = append(changed, k)
	}
	for _, k := range changed {
		r.Put(k)
	}
	for _, id := range dropped {
		r.Drop(id)
	}
	return changed, dropped
}

// inOrder lists the records: those with a pin first, then by id.
func (r *Register) inOrder() []Known {
	return slices.SortedFunc(maps.Values(r.known), func(a, b Known) int {
		if (a.Pin == "") != (b.Pin == "") {
			return cmp.Compare(b.Pin, a.Pin)
		}
		return cmp.Compare(a.ID, b.ID)
	})
}
