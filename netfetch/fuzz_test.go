package netfetch

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-99/1000", "bytes 5-5/*", "bytes */1000", "bytes 9-1/5", "bytes 0-99/50", "bytes +0-1/2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, last, total, ok := parseContentRange(s)
		if ok && (first < 0 || last < first || total != -1 && total <= last) {
			t.Errorf("parseContentRange(%q) = %d, %d, %d", s, first, last, total)
		}
		if ok && strings.ContainsAny(s, "+ ") && strings.Count(s, " ") != 1 {
			t.Errorf("parseContentRange(%q) was taken", s)
		}
	})
}

func TestParseContentRange(t *testing.T) {
	for s, want := range map[string]bool{"bytes 0-99/1000": true, "bytes 5-5/*": true, "bytes 5-5/6": true, "": false,
		"bytes 5-5/5": false, "bytes 9-1/20": false, "bytes */1000": false, "bytes -1-5/9": false, "bytes +0-5/9": false,
		"bytes 0-5": false, "items 0-5/9": false, "bytes 0-9223372036854775808/*": false, "bytes  0-5/9": false} {
		if _, _, _, ok := parseContentRange(s); ok != want {
			t.Errorf("parseContentRange(%q) = %v, want %v", s, ok, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-1": 0, "x": 0,
		"4294967295": 24 * time.Hour, "99999999999999999999": 0,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0,
		now.Add(100 * time.Hour).Format(http.TimeFormat): 24 * time.Hour} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", value, got, want)
		}
	}
}
