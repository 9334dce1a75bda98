package progress

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 1536: "1.5 kB", 123456789: "123.5 MB", 5e12: "5.0 TB", 5e15: "5000.0 TB"} {
		t.Run(want, func(t *testing.T) {
			if got := Bytes(n); got != want {
				t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
			}
		})
	}
}

func TestMeterPlainLines(t *testing.T) {
	var out bytes.Buffer
	clock := time.Unix(0, 0)
	m := New(&out, "fetch", 100e6)
	m.now = func() time.Time { return clock }
	m.start, m.next = clock, clock.Add(m.every)

	m.Add(1e6)
	if out.Len() != 0 {
		t.Fatalf("wrote %q before the first interval had passed", out.String())
	}
	clock = clock.Add(5 * time.Second)
	m.Add(49e6)
	clock = clock.Add(5 * time.Second)
	if got := m.Done(); got != 10*time.Second {
		t.Errorf("Done() = %v, want 10s", got)
	}
	want := "fetch: 50% (50.0 MB of 100.0 MB), 10.0 MB/s, 5s left\nfetch: 50.0 MB in 10.0 s, 5.0 MB/s\n"
	if out.String() != want {
		t.Errorf("wrote %q, want %q", out.String(), want)
	}
	if strings.Contains(out.String(), "\r") {
		t.Error("carriage return on a writer that is no terminal")
	}
}
