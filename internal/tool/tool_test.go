package tool_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
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
	err := tool.Run(t.Context(), &tool.Command{Name: "wimlib-imagex"})
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "not installed (Debian package wimtools)") {
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

// TestPercent: what a program says of itself is told, other lines are not.
func TestPercent(t *testing.T) {
	var got []float64
	err := tool.Run(t.Context(), &tool.Command{
		Name: "sh", Args: []string{"-c", `printf 'files 90%%\r    (12.50/100%%)\r    (1'; sleep 0; printf '00.00/100%%)\n(13/100%%)'`},
		Percent: regexp.MustCompile(`\(([0-9.]+)/100%\)`), Done: func(p float64) { got = append(got, p) },
	})
	if err != nil || !slices.Equal(got, []float64{12.5, 100}) {
		t.Errorf("told %v, %v", got, err)
	}
}

// Users whose PATH has no folders for administrators can use what needs no root there.
func TestPath(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if path, err := tool.Path("mkntfs"); err != nil || !strings.HasSuffix(path, "sbin/mkntfs") {
		t.Errorf("%q, %v", path, err)
	}
	if _, err := tool.Path("no-such-program"); !errors.Is(err, exec.ErrNotFound) {
		t.Error(err)
	}
	if err := tool.Run(t.Context(), &tool.Command{Name: "mkntfs", Args: []string{"--version"}}); err != nil {
		t.Error(err)
	}
}
