package link

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestSizeBudget builds two static programs, one that does nothing and one that uses
// this package, and holds the difference against a budget: it travels to every machine.
func TestSizeBudget(t *testing.T) {
	const rawBudget, packedBudget = 6_500_000, 2_600_000 // bytes
	build := func(source string) (raw, packed int) {
		dir := t.TempDir()
		main, out := filepath.Join(dir, "main.go"), filepath.Join(dir, "out")
		if err := os.WriteFile(main, []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, main)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, b)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
		if err != nil {
			t.Fatal(err)
		}
		return len(b), len(w.EncodeAll(b, nil))
	}
	raw0, packed0 := build("package main\nfunc main() {}\n")
	raw, packed := build(`package main

import (
	"context"
	"os"

	"troy/netfetch"
	"troy/netfetch/link"
)

func main() {
	ctx := context.Background()
	l, _ := link.Up(ctx, nil)
	go l.Keep(ctx, nil)
	m, _ := netfetch.NewHTTPMirrors(os.Args[1:], nil, nil)
	b, _ := netfetch.NewLimiter(1).Wrap(m).ReadRange(ctx, "o", 0, 1)
	m.PostJSON(ctx, "p", b, nil)
}
`)
	t.Logf("netfetch adds %.2f MB, compressed %.2f MB", float64(raw-raw0)/1e6, float64(packed-packed0)/1e6)
	if raw-raw0 > rawBudget || packed-packed0 > packedBudget {
		t.Errorf("over the budget of %d and %d bytes", rawBudget, packedBudget)
	}
}
