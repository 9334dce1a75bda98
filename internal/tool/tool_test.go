package tool_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"troy/internal/tool"
)

// TestErrors: an error names the program and says what it said, in one line.
func TestErrors(t *testing.T) {
	sh := func(script string) error {
		return tool.Run(t.Context(), &tool.Command{Name: "sh", Args: []string{"-c", script}})
	}
	if err := sh("exit 0"); err != nil {
		t.Errorf("success: %v", err)
	}
	for script, want := range map[string]string{
		"exit 3": "sh: exit status 3",
		"echo 10%; echo; echo 'ERROR: a hash'; echo '       is wrong' >&2; exit 1": "sh: ERROR: a hash",
		"printf 'one\\rtwo\\nthree\\nfour\\n'; exit 1":                             "sh: two; three; four",
	} {
		var failed *tool.Error
		if err := sh(script); !errors.As(err, &failed) || err.Error() != want {
			t.Errorf("%s: %q, want %q", script, err, want)
		}
	}
	t.Setenv("PATH", t.TempDir())
	err := tool.Run(t.Context(), &tool.Command{Name: "partclone.restore"})
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "not installed (Debian package partclone)") {
		t.Errorf("missing: %v", err)
	}
}

// TestInterrupted: a cancelled context ends the program and is the error.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		r.Read(make([]byte, 1))
		cancel()
	}()
	err = tool.Run(ctx, &tool.Command{Name: "sh", Args: []string{"-c", "echo; exec sleep 600"}, Stdout: w})
	w.Close()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

// TestGrown: what is told of the output is what it takes, holes left out.
func TestGrown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	var total int64
	err := tool.Run(t.Context(), &tool.Command{Name: "sh", Args: []string{"-c", "truncate -s 1G $0; head -c 1000000 /dev/urandom | dd of=$0 bs=1M seek=100 conv=notrunc status=none; sync $0", path},
		Output: path, Grown: func(n int64) { total += n }})
	if err != nil || total < 1000000 || total > 1200000 {
		t.Errorf("%d bytes, %v", total, err)
	}
}
