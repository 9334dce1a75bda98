package gates

import (
	"cmp"
	"fmt"
	"strings"
)

// Page says the same as the file, for people: it is what they look at before the file is written.
func (r *Result) Page() string {
	var b strings.Builder
	pc := r.PC.cleaned(r.Names)
	fmt.Fprintf(&b, "Result of %s, Troy %s\n\n", r.Date, orUnknown(r.Troy))
	for _, l := range []struct{ name, text string }{{"PC", pc.name()}, {"firmware", pc.Firmware}, {"Secure Boot", pc.SecureBoot}, {"TPM", pc.TPM},
		{"BootNext", pc.BootNext}, {"network", strings.Join(pc.Cards, ", ")}, {"Windows", pc.Windows.name()}} {
		fmt.Fprintf(&b, "%-12s %s\n", l.name, orUnknown(l.text))
	}
	if m := r.Merge; m != nil {
		fmt.Fprintf(&b, "%-12s %d bytes: Windows %.2f s, Troy %.2f s\n", "merge", m.Bytes, m.Windows, m.Troy)
	}
	b.WriteByte('\n')
	for _, a := range r.Gates {
		question := "(a gate of a newer Troy)"
		if g := Find(a.Gate); g != nil {
			question = g.Question
		}
		fmt.Fprintf(&b, "%-4s %-8s %s\n", a.Gate, a.Status, question)
		for _, line := range a.Evidence {
			fmt.Fprintf(&b, "%13s %s\n", "-", line)
		}
	}
	fmt.Fprintf(&b, "\n%d passed, %d failed, %d not run\n", r.Count(Pass), r.Count(Fail), r.Count(NotRun))
	return b.String()
}

func orUnknown(text string) string { return cmp.Or(text, "not known") }

// name is the PC in a few words.
func (p *PC) name() string {
	words := strings.Fields(p.Maker + " " + p.Model)
	if p.Virtual != "" {
		words = append([]string{"virtual PC,", p.Virtual + ":"}, words...)
	}
	return strings.TrimSuffix(strings.Join(words, " "), ":")
}

func (w *Windows) name() string {
	if w.StandIn {
		return "a stand-in, no Windows"
	}
	return strings.Join(strings.Fields(w.Edition+" "+w.Build), " ")
}
