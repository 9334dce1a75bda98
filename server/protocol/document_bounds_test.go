package protocol

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestDocumentNeeded: without a member that the page calls needed every example is refused, and
// none without another one. What is needed sometimes is refused in one example at least.
func TestDocumentNeeded(t *testing.T) {
	p := readPage(t)
	for kind, rows := range p.tables {
		for _, row := range rows {
			if len(row) != 5 {
				continue
			}
			refused, taken := 0, 0
			for _, e := range p.examples {
				v := decoded(t, e.json(t))
				if _, here := v[row[0]]; e.kind != kind || !here {
					continue
				}
				delete(v, row[0])
				if message(kind, encoded(t, v)) != nil {
					refused++
				} else {
					taken++
				}
			}
			switch need := row[2]; {
			case need == "yes" && taken > 0, need == "no" && refused > 0:
				t.Errorf("%s.%s: needed: %s, but %d examples are refused without it, %d taken", kind, row[0], need, refused, taken)
			case strings.HasPrefix(need, "unless ") && (refused == 0 || taken == 0):
				t.Errorf("%s.%s: needed %s: %d examples are refused without it, %d taken", kind, row[0], need, refused, taken)
			}
		}
	}
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	boundBytes = regexp.MustCompile(`^≤ (\d+) bytes$`)
	boundCount = regexp.MustCompile(`^≤ (\d+)$`)
	boundRange = regexp.MustCompile(`^(\d+) to (\d+)$`)
	boundLeast = regexp.MustCompile(`^≥ (\d+)$`)
	boundOr    = regexp.MustCompile(`^0 or ≥ (\d+)$`)
	boundEqual = regexp.MustCompile(`^= (\d+)$`)
	boundHash  = regexp.MustCompile(`^= (\d+) hex digits$`)
)

// probes makes of a bound the values that are just taken, and those that just are not.
func probes(t *testing.T, bound string, now any) (good, bad []any) {
	t.Helper()
	number := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if m := boundBytes.FindStringSubmatch(bound); m != nil {
		n := int(number(m[1]))
		return []any{strings.Repeat("x", n)}, []any{strings.Repeat("x", n+1), "\x1b"}
	}
	if m := boundCount.FindStringSubmatch(bound); m != nil {
		one := now.([]any)[0]
		n := int(number(m[1]))
		return []any{slices.Repeat([]any{one}, n)}, []any{slices.Repeat([]any{one}, n+1)}
	}
	if m := boundRange.FindStringSubmatch(bound); m != nil {
		return []any{number(m[1]), number(m[2])}, []any{number(m[1]) - 1, number(m[2]) + 1}
	}
	if m := boundLeast.FindStringSubmatch(bound); m != nil {
		return []any{number(m[1]), int64(1) << 40}, []any{number(m[1]) - 1}
	}
	if m := boundOr.FindStringSubmatch(bound); m != nil {
		return []any{0, number(m[1]), int64(1) << 40}, []any{-1, 1, number(m[1]) - 1}
	}
	if m := boundEqual.FindStringSubmatch(bound); m != nil {
		return []any{number(m[1])}, []any{number(m[1]) - 1, number(m[1]) + 1}
	}
	if m := boundHash.FindStringSubmatch(bound); m != nil {
		n := int(number(m[1]))
		return []any{strings.Repeat("0a", n/2)}, []any{strings.Repeat("a", n-1), strings.Repeat("a", n+1), strings.Repeat("A", n), strings.Repeat("x", n)}
	}
	if bound != "" {
		t.Errorf("a bound that this test does not understand: %q", bound)
	}
	return nil, nil
}

// TestDocumentBounds sets each member of each example to what the page calls just possible, and to
// what it calls too much.
func TestDocumentBounds(t *testing.T) {
	p := readPage(t)
	probed := 0
	for _, e := range p.examples {
		b := e.json(t)
		probe(t, p, e.kind, decoded(t, b), func(change func(v map[string]any)) error {
			v := decoded(t, b)
			change(v)
			return message(e.kind, encoded(t, v))
		}, &probed)
	}
	if probed < 100 {
		t.Errorf("only %d values were tried", probed)
	}
}

// probe tries the bounds of a value's members; try changes a copy of the value and checks the whole
// message.
func probe(t *testing.T, p *page, kind string, v map[string]any, try func(change func(v map[string]any)) error, probed *int) {
	t.Helper()
	for _, row := range p.tables[kind] {
		name, now := row[0], v[row[0]]
		if now == nil || kind == "Failure" || kind == "Ack" {
			continue
		}
		good, bad := probes(t, row[3], now)
		for i, x := range append(good, bad...) {
			*probed++
			err := try(func(v map[string]any) { v[name] = x })
			if (err == nil) != (i < len(good)) {
				t.Errorf("%s.%s, bound %q, value %.60s: %v", kind, name, row[3], encoded(t, x), err)
			}
		}
		inner, place := inside(now)
		if inner != nil {
			probe(t, p, strings.TrimPrefix(row[1], "list of "), inner, func(change func(map[string]any)) error {
				return try(func(v map[string]any) {
					c := maps.Clone(inner)
					change(c)
					v[name] = place(c)
				})
			}, probed)
		}
	}
}

// inside finds the object in a member, or the first of its list, and how to put another one there.
func inside(v any) (map[string]any, func(map[string]any) any) {
	if list, ok := v.([]any); ok {
		o, _ := list[0].(map[string]any)
		return o, func(c map[string]any) any { return []any{c} }
	}
	o, _ := v.(map[string]any)
	return o, func(c map[string]any) any { return c }
}
