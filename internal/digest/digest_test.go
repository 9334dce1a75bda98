package digest

import (
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"
)

// A sum goes through JSON and back, and has one spelling.
func TestSum(t *testing.T) {
	want := Sum(sha256.Sum256([]byte("abc")))
	const text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, appendix B.1
	b, err := json.Marshal(want)
	if err != nil || string(b) != `"`+text+`"` {
		t.Fatalf("as JSON %s, %v; want %q", b, err, text)
	}
	for name, c := range map[string]struct {
		text string
		good bool
	}{
		"own":        {text, true},
		"upper case": {strings.ToUpper(text), false},
		"short":      {text[:62], false},
		"long":       {text + "00", false},
		"no hex":     {"x" + text[1:], false},
		"empty":      {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			var got Sum
			err := got.UnmarshalText([]byte(c.text))
			if (err == nil) != c.good || c.good && got != want || !c.good && got != (Sum{}) {
				t.Errorf("UnmarshalText(%q) = %v, %v; want good: %v", c.text, got, err, c.good)
			}
		})
	}
}
