package gates

import (
	"fmt"
	"slices"
	"strings"
)

// Join makes one result of several that are of one PC: from inside of Windows, from outside, from a
// trial. Of a gate the failure counts, then the pass; evidence is kept from all. What one does not
// know of the PC another one may. None is changed. Errors: ErrOtherPC.
func Join(first *Result, more ...*Result) (*Result, error) {
	r := *first
	r.Gates = nil
	r.PC.Cards = slices.Clone(first.PC.Cards)
	r.Names = slices.Clone(first.Names)
	for _, n := range append([]*Result{first}, more...) {
		for _, a := range n.Gates {
			r.add(a, nil)
		}
	}
	for _, n := range more {
		if err := r.PC.join(&n.PC); err != nil {
			return nil, err
		}
		r.Date = max(r.Date, n.Date)
		r.Names = append(r.Names, n.Names...)
		if r.Merge == nil {
			r.Merge = n.Merge
		}
	}
	return &r, nil
}

// join adds what another result knows of the same PC.
func (p *PC) join(other *PC) error {
	theirs := other.fields()
	for i, f := range p.fields() {
		mine, text := f.text, *theirs[i].text
		switch {
		case *mine == "":
			*mine = text
		case text != "" && !strings.EqualFold(*mine, text):
			return fmt.Errorf("%w: %s is %q in one and %q in another", ErrOtherPC, f.name, *mine, text)
		}
	}
	p.Windows.StandIn = p.Windows.StandIn || other.Windows.StandIn
	for _, c := range other.Cards {
		if !slices.Contains(p.Cards, c) {
			p.Cards = append(p.Cards, c)
		}
	}
	return nil
}
