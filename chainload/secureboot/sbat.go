package secureboot

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// SBAT is a list of components with their generations: what a program is made of, or the least that
// a machine starts.
type SBAT []Component

// Component is one line.
type Component struct {
	Name       string
	Generation int
}

// maxComponents bounds a list.
const maxComponents = 256

// ParseSBAT reads lines of NAME,GENERATION[,…]; others are left out, as shim does with the rest of
// a line.
func ParseSBAT(text string) (all SBAT) {
	for line := range strings.Lines(strings.TrimRight(text, "\x00")) {
		fields := strings.SplitN(strings.TrimSpace(line), ",", 3)
		if len(fields) < 2 || fields[0] == "" || len(all) == maxComponents {
			continue
		}
		if n, err := strconv.ParseUint(strings.TrimSpace(fields[1]), 10, 31); err == nil {
			all = append(all, Component{fields[0], int(n)})
		}
	}
	return all
}

// sbat is the section of a program.
func (f *pe) sbat() SBAT {
	b := f.content(".sbat")
	if b == nil {
		return nil
	}
	return append(SBAT{}, ParseSBAT(string(b))...)
}

// refuses says which component of a program is below the level; nil: none.
func (level SBAT) refuses(p SBAT) error {
	for _, l := range level {
		i := slices.IndexFunc(p, func(c Component) bool { return c.Name == l.Name })
		if i >= 0 && p[i].Generation < l.Generation {
			return fmt.Errorf("%w: its SBAT generation of %s is %d, the machine's level is %d", ErrRefused, l.Name, p[i].Generation, l.Generation)
		}
	}
	return nil
}
