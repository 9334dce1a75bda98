package format

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	k := Kind{Name: "list.json", Number: 4, Oldest: 3, Words: []string{"moved"}}
	needs := func(words ...string) string {
		return `{"format":4,"text":1,"needs":["` + strings.Join(words, `","`) + `"]}`
	}
	for _, c := range []struct{ name, text, want string }{
		{"current", `{"format":4}`, ""},
		{"oldest", `{"format":3}`, ""},
		{"newer", `{"format":70,"new":1}`, ""},
		{"newer with a word that is known", `{"format":70,"needs":["moved"]}`, ""},
		{"older", `{"format":2}`, "list.json has format 2, and this program (" + Release + ") reads formats from 3 on: make it again with a newer Troy"},
		{"no number", `{}`, "list.json has format 0"},
		{"words that are not known", needs("moved", "clear-v2", "gone"),
			`list.json needs "clear-v2", "gone", which this program (` + Release + `) does not understand: install a newer Troy`},
		{"another type", `{"format":4,"text":1}`, "list.json: malformed JSON"},
		{"empty word", needs(""), "list.json: malformed JSON: needs has"},
		{"word with a letter that is none", needs("a b"), "want words of"},
		{"long word", needs(strings.Repeat("a", MaxWord+1)), "want words of"},
		{"too many words", needs(slices.Repeat([]string{"moved"}, MaxWords+1)...), "needs has 33 words, at most 32"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d document
			err := k.Read([]byte(c.text), &d)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v, want %q", c.text, err, c.want)
			}
		})
	}
	var lacks *NeedsError
	if err := k.Read([]byte(needs("moved", "x")), &document{}); !errors.As(err, &lacks) || !slices.Equal(lacks.Words, []string{"x"}) {
		t.Errorf("a word that is not known: %v", err)
	}
	var old *OldError
	if err := k.Read([]byte(`{"format":1}`), &document{}); !errors.As(err, &old) || old.Format != 1 {
		t.Errorf("an old format: %v", err)
	}
}

// A program reads what it wrote, and needs what was needed before.
func TestStamp(t *testing.T) {
	for _, k := range []Kind{{Name: "a", Number: 1, Oldest: 1, Words: []string{"old"}}, {Name: "bare", Number: 2, Oldest: 2, Bare: true}} {
		var d document
		if !k.Bare {
			d.Needs = []string{"old"}
		}
		k.Stamp(&d.Head)
		k.Stamp(&d.Head)
		b, err := Marshal(&d)
		must(t, err)
		var again document
		must(t, k.Read(b, &again))
		if again.Format != k.Current() || k.Bare != (len(again.Needs) == 0) || !k.Bare && len(again.Needs) != 1+len(extra()) {
			t.Errorf("%s: %s", k.Name, b)
		}
	}
}
