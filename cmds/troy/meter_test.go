package main

import (
	"regexp"
	"strings"
	"testing"
)

// TestStage: each stage that began has one closing line, before the next one's.
func TestStage(t *testing.T) {
	for name, c := range map[string]struct{ search, read int64 }{
		"both": {5, 7}, "only the first": {5, 0}, "only the second": {0, 7}, "none": {0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			search := &stage{w: &out, what: "searching"}
			read := &stage{w: &out, what: "reading", before: search}
			want := ""
			if c.search > 0 {
				search.Add(c.search)
				want = "searching: 5 B\n"
			}
			if c.read > 0 {
				read.Add(c.read)
				want += "reading: 7 B\n"
			}
			read.Done()
			read.Done()
			if got := regexp.MustCompile(` in .*`).ReplaceAllString(out.String(), ""); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
