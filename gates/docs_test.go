package gates

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The tables in the pages are those of the results that lie in docs/results.
func TestPages(t *testing.T) {
	names, err := filepath.Glob("../docs/results/*.json")
	if err != nil {
		t.Fatal(err)
	}
	var results []*Result
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Parse(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		results = append(results, r)
	}
	for _, page := range []struct{ name, table string }{
		{"../README.md", Summary(results)}, {"../docs/hardware.md", Hardware(results)}, {"../docs/real-windows.md", Questions(results)},
	} {
		b, err := os.ReadFile(page.name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), "\n\n"+page.table+"\n") {
			t.Errorf("%s lacks the table that 'troy gates table' prints of docs/results:\n%s", page.name, page.table)
		}
	}
}
