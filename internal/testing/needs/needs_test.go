package needs

import (
	"flag"
	"os"
	"testing"
)

// recorder is a test that notes what would end it.
type recorder struct {
	testing.TB
	skipped, failed bool
}

func (r *recorder) Helper()           {}
func (r *recorder) Skip(args ...any)  { r.skipped = true }
func (r *recorder) Fatal(args ...any) { r.failed = true }

// TestNeeds shows that -short, and nothing else, skips.
func TestNeeds(t *testing.T) {
	tests := []struct {
		name  string
		need  func(testing.TB)
		short bool
		cache string
		skips bool
		fails bool
	}{
		{"root", Root, false, "", false, os.Geteuid() != 0},
		{"root, short", Root, true, "", true, os.Geteuid() != 0},
		{"downloads", Downloads, false, "/cache", false, false},
		{"downloads that are missing", Downloads, false, "", false, true},
		{"downloads, short", Downloads, true, "/cache", true, false},
		{"time", Time, false, "", false, false},
		{"time, short", Time, true, "", true, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := flag.Lookup("test.short").Value.String()
			t.Cleanup(func() { flag.Set("test.short", before) })
			if err := flag.Set("test.short", map[bool]string{true: "true", false: "false"}[test.short]); err != nil {
				t.Fatal(err)
			}
			t.Setenv("TROY_CACHE", test.cache)
			r := &recorder{TB: t}
			test.need(r)
			if r.skipped != test.skips || r.failed != test.fails {
				t.Errorf("skipped %v, failed %v; want %v, %v", r.skipped, r.failed, test.skips, test.fails)
			}
		})
	}
}
