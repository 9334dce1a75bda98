// Package tool runs programs of other projects: qemu-img, wimlib-imagex, 7zz, mkntfs, partclone. It
// names the Debian package of one that is missing, and makes what a failed one said a line.
package tool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// packages are the Debian packages of the programs.
var packages = map[string]string{
	"7zz": "7zip, in Debian 13 7zip-standalone", "mkntfs": "ntfs-3g", "ntfscp": "ntfs-3g", "partclone.restore": "partclone",
	"qemu-img": "qemu-utils", "wimlib-imagex": "wimtools",
}

// watchEvery is how often the file that a program makes is looked at.
const watchEvery = 200 * time.Millisecond

// Command is one run of a program.
type Command struct {
	Name   string
	Args   []string
	Stdin  io.Reader // nil: empty
	Stdout io.Writer // nil: kept for the error
	// Output is the file that the program makes; Grown is told by how many bytes it grew, holes left
	// out, while the program runs. A nil Grown is told nothing.
	Output string
	Grown  func(bytes int64)
}

// Error says which program failed and what it said.
type Error struct {
	Tool string
	Said string // one line, "" when it said nothing
	Err  error
}

// Error names the program, what it said or else how it ended, and for a missing one its package.
func (e *Error) Error() string {
	switch {
	case errors.Is(e.Err, exec.ErrNotFound):
		return fmt.Sprintf("%s is not installed (Debian package %s)", e.Tool, packages[e.Tool])
	case e.Said != "":
		return fmt.Sprintf("%s: %s", e.Tool, e.Said)
	}
	return fmt.Sprintf("%s: %v", e.Tool, e.Err)
}

// Unwrap returns how the program ended.
func (e *Error) Unwrap() error { return e.Err }

// Run runs the program to its end. The error is an *Error, or the context's.
func Run(ctx context.Context, c *Command) error {
	cmd := exec.CommandContext(ctx, c.Name, c.Args...)
	// Its words are read here, so they must not depend on who runs the command.
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	cmd.WaitDelay = 10 * time.Second
	said := &tail{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, said
	if c.Stdout == nil {
		cmd.Stdout = said
	}
	stop := c.watch()
	err := cmd.Run()
	stop()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return &Error{Tool: c.Name, Said: said.line(), Err: err}
	}
	return nil
}

// Output runs a program and returns what it printed.
func Output(ctx context.Context, name string, args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := Run(ctx, &Command{Name: name, Args: args, Stdout: &out})
	return out.Bytes(), err
}

// watch tells Grown how the output grows until stop is called.
func (c *Command) watch() (stop func()) {
	if c.Grown == nil {
		return func() {}
	}
	var last int64
	look := func() {
		if n := allocated(c.Output); n > last {
			c.Grown(n - last)
			last = n
		}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				look()
			case <-quit:
				look()
				return
			}
		}
	}()
	return func() { close(quit); <-done }
}

// tail keeps the last of what a program says.
type tail struct{ b []byte }

const tailSize = 16 << 10

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-tailSize):]
	return len(p), nil
}

// line makes one line of it: the errors if they are marked as such, else the last three lines.
func (t *tail) line() string {
	var all, marked []string
	for l := range strings.FieldsFuncSeq(string(t.b), func(r rune) bool { return r == '\n' || r == '\r' }) {
		l = strings.TrimSpace(l)
		if l == "" || slices.Contains(all, l) {
			continue
		}
		all = append(all, l)
		if strings.Contains(strings.ToUpper(l), "ERROR") || strings.Contains(l, "fail") {
			marked = append(marked, l)
		}
	}
	if len(marked) > 0 {
		all = marked
	}
	return strings.Join(all[max(0, len(all)-3):], "; ")
}
