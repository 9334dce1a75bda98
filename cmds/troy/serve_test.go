package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"troy/netfetch"
)

// TestServeRate serves a store at a rate: a download takes the time it should, and the log holds
// the bytes of each answer.
func TestServeRate(t *testing.T) {
	h := newHistory(t, seeded(t))
	for _, rate := range []string{"-1", "NaN", "fast", "1e9", "0.000001"} {
		wantTroy(t, exitUsage, "serve", "--rate", rate, h.store)
	}
	pack := []byte("one file of the store, ")
	pack = bytes.Repeat(pack, 600_000/len(pack))
	must(t, os.WriteFile(filepath.Join(h.store, "objects", "test.pack"), pack, 0o644))

	log := filepath.Join(t.TempDir(), "log")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r, w := io.Pipe()
	ended := make(chan int)
	go func() {
		code := run(ctx, []string{"serve", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0", "--rate", "8", "--log", log, h.store}, w, w)
		w.Close()
		ended <- code
	}()
	url := address(t, r)
	src, err := netfetch.NewHTTP(url+"/repo", nil)
	must(t, err)
	begin := time.Now()
	b, err := src.ReadRange(t.Context(), "objects/test.pack", 0, int64(len(pack)))
	took := time.Since(begin)
	if err != nil || !bytes.Equal(b, pack) || took < 450*time.Millisecond || took > 5*time.Second {
		t.Errorf("%d bytes at 1 MB/s in %v: %v", len(b), took, err)
	}
	stop()
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d", code)
	}
	lines, err := os.ReadFile(log + ".served")
	must(t, err)
	var e struct {
		Time   time.Time
		Served struct {
			Name  string
			Bytes int64
		}
	}
	must(t, json.Unmarshal(bytes.TrimSpace(lines), &e))
	if e.Served.Name != "objects/test.pack" || e.Served.Bytes != int64(len(pack)) || time.Since(e.Time) > time.Minute {
		t.Errorf("log: %s", lines)
	}
}

// address waits until the server says where it listens, and keeps reading what it says.
func address(t *testing.T, r io.Reader) string {
	t.Helper()
	var said strings.Builder
	buf := make([]byte, 4096)
	for line := regexp.MustCompile(`on (http://127\S+)\n`); ; {
		n, err := r.Read(buf)
		said.Write(buf[:n])
		if m := line.FindStringSubmatch(said.String()); m != nil {
			go io.Copy(io.Discard, r)
			return m[1]
		}
		if err != nil {
			t.Fatalf("troy serve ended: %s", said.String())
		}
	}
}
