package inside

import (
	"encoding/json"
	"unicode/utf8"
)

// room is how many bytes of JSON a slot has.
const room = SlotSize - slotHeader

// cuts are how long a text and how long a list may be, in the order in which they are tried. What
// is no free text is shorter than all of them: the words of this package and a time.
var cuts = []struct{ text, list int }{
	{300, 64}, {200, 32}, {120, 24}, {80, 16}, {60, 12}, {40, 8}, {32, 5},
}

// encode is the JSON of a record. Texts are shortened, then the ends of lists left out, until it
// fits its slot: a record with less is better than none.
func (r *Record) encode() ([]byte, error) {
	whole, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	text := whole
	for i := 0; len(text) > room && i < len(cuts); i++ {
		var v map[string]any
		if err := json.Unmarshal(whole, &v); err != nil {
			return nil, err
		}
		if text, err = json.Marshal(shorten(v, cuts[i].text, cuts[i].list)); err != nil {
			return nil, err
		}
	}
	return text, nil
}

// shorten returns a value of JSON with its texts and lists cut.
func shorten(v any, text, list int) any {
	switch x := v.(type) {
	case string:
		return cut(x, text)
	case []any:
		x = x[:min(len(x), list)]
		for i := range x {
			x[i] = shorten(x[i], text, list)
		}
		return x
	case map[string]any:
		for k := range x {
			x[k] = shorten(x[k], text, list)
		}
	}
	return v
}

// cut ends a text after at most n bytes, between two characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
