package gates

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// realOnes returns the results of a real Windows, the newest first.
func realOnes(results []*Result) []*Result {
	list := slices.DeleteFunc(slices.Clone(results), func(r *Result) bool { return r.PC.Windows.StandIn || r.PC.Windows.name() == "" })
	slices.SortStableFunc(list, func(a, b *Result) int { return cmp.Compare(b.Date, a.Date) })
	return list
}

// row is one line of a Markdown table.
func row(cells ...string) string {
	for i := range cells {
		cells[i] = strings.NewReplacer("|", `\|`, "<", "&lt;", "`", "'").Replace(cmp.Or(cells[i], "–"))
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

// Hardware is the Markdown table of PCs on which a real Windows was tried, the newest result first.
func Hardware(results []*Result) string {
	var b strings.Builder
	b.WriteString(row("PC", "firmware", "BootNext", "network card", "Secure Boot", "Windows", "passed", "failed", "day"))
	b.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	list := realOnes(results)
	for _, r := range list {
		pc := &r.PC
		b.WriteString(row(pc.name(), pc.Firmware, pc.BootNext, strings.Join(pc.Cards, ", "), pc.SecureBoot, pc.Windows.name(), r.gatesThat(Pass), r.gatesThat(Fail), r.Date))
	}
	if len(list) == 0 {
		b.WriteString(row("none yet", "", "", "", "", "", "", "", ""))
	}
	return b.String()
}

// gatesThat lists the gates with an answer.
func (r *Result) gatesThat(s Status) string {
	var ids []string
	for _, g := range list {
		if r.Answer(g.ID).Status == s {
			ids = append(ids, g.ID)
		}
	}
	return strings.Join(ids, " ")
}

// Summary is the Markdown table of README: the newest result of a virtual PC, and of a real one.
func Summary(results []*Result) string {
	var b strings.Builder
	b.WriteString(row("tried on", "Windows", "gates passed", "failed", "not run", "day"))
	b.WriteString("|---|---|---|---|---|---|\n")
	none := New(time.Time{}, "", PC{})
	for _, kind := range []struct{ name, windows string }{{"virtual PC", "stand-in only"}, {"real PC", "none yet"}} {
		r, name, windows, day := none, kind.name, kind.windows, ""
		list := realOnes(results)
		if i := slices.IndexFunc(list, func(r *Result) bool { return (r.PC.Virtual != "") == (kind.name == "virtual PC") }); i >= 0 {
			r = list[i]
			name, windows, day = r.PC.name(), r.PC.Windows.name(), r.Date
		}
		b.WriteString(row(name, windows, fmt.Sprint(r.Count(Pass)), fmt.Sprint(r.Count(Fail)), fmt.Sprint(r.Count(NotRun)), day))
	}
	return b.String()
}

// Questions is the Markdown table of docs/real-windows.md: every gate with its newest answers.
func Questions(results []*Result) string {
	var b strings.Builder
	b.WriteString(row("gate", "question", "how", "where", "answered by", "result"))
	b.WriteString("|---|---|---|---|---|---|\n")
	for _, g := range list {
		by := make([]string, len(g.By))
		for i := range g.By {
			by[i] = string(g.By[i])
		}
		b.WriteString(row(g.ID, g.Question, g.How, string(g.Where), strings.Join(by, ", "), answersOf(g.ID, results)))
	}
	return b.String()
}

// answersOf says what the results know of a gate.
func answersOf(gate string, results []*Result) string {
	var all []string
	for _, r := range realOnes(results) {
		if s := r.Answer(gate).Status; s != NotRun {
			all = append(all, fmt.Sprintf("%s: %s, %s", s, r.PC.name(), r.Date))
		}
	}
	return cmp.Or(strings.Join(all, "; "), "none yet")
}
