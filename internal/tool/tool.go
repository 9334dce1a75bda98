// Package tool runs programs of other projects: qemu-img, wimlib-imagex, 7zz, mkntfs, partclone, xz
// and the like. It names the Debian package of one that is missing, and makes what a failed one
// said a line.
package tool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// packages are the Debian packages of the programs.
var packages = map[string]string{
	"7zz": "7zip, in Debian 13 7zip-standalone", "bzip2": "bzip2", "hivexsh": "libhivex-bin", "lz4": "lz4", "lzip": "lzip", "lzop": "lzop", "mkntfs": "ntfs-3g",
	"ntfs-3g": "ntfs-3g", "ntfscp": "ntfs-3g", "partclone.restore": "partclone", "qemu-img": "qemu-utils", "qemu-system-x86_64": "qemu-system-x86", "wimlib-imagex": "wimtools", "xz": "xz-utils",
}

// Command is one run of a program.
type Command struct {
	Name   string
	Args   []string
	Stdin  io.Reader // nil: empty
	Stdout io.Writer // nil: kept for the error
	// Percent finds in what the program prints to its standard output how much of the work is done,
	// by its first group; Done is told it each time. Nil looks for nothing.
	Percent *regexp.Regexp
	Done    func(percent float64)
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
	case errors.Is(e.Err, exec.ErrNotFound) && packages[e.Tool] == "":
		return e.Tool + " is not installed"
	case errors.Is(e.Err, exec.ErrNotFound):
		return fmt.Sprintf("%s is not installed (Debian package %s)", e.Tool, packages[e.Tool])
	case e.Said != "":
		return fmt.Sprintf("%s: %s", e.Tool, e.Said)
	}
	return fmt.Sprintf("%s: %v", e.Tool, e.Err)
}

// Unwrap returns how the program ended.
func (e *Error) Unwrap() error { return e.Err }

// Path finds a program: where PATH says, and where Debian keeps programs such as mkntfs, which need
// no root, but are not in the PATH of users.
func Path(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil || filepath.Base(name) != name {
		return path, err
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if found, other := exec.LookPath(filepath.Join(dir, name)); other == nil {
			return found, nil
		}
	}
	return "", err
}

// Run runs the program to its end. The error is an *Error, or the context's.
func Run(ctx context.Context, c *Command) error {
	path, err := Path(c.Name)
	if err != nil {
		return &Error{Tool: c.Name, Err: err}
	}
	cmd := exec.CommandContext(ctx, path, c.Args...)
	// Its words are read here, so they must not depend on who runs the command.
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	cmd.SysProcAttr = ends()
	cmd.WaitDelay = 10 * time.Second
	said := &tail{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, said
	if c.Stdout == nil {
		cmd.Stdout = said
	}
	if c.Percent != nil {
		cmd.Stdout = io.MultiWriter(cmd.Stdout, &percentages{c: c})
	}
	err = cmd.Run()
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

// percentages reads how far a program says it is.
type percentages struct {
	c    *Command
	line []byte // that has not ended
}

// Write implements io.Writer.
func (p *percentages) Write(b []byte) (int, error) {
	p.line = append(p.line, b...)
	for {
		i := bytes.IndexAny(p.line, "\r\n")
		if i < 0 {
			p.line = p.line[max(0, len(p.line)-tailSize):]
			return len(b), nil
		}
		if m := p.c.Percent.FindSubmatch(p.line[:i]); m != nil {
			if n, err := strconv.ParseFloat(string(m[1]), 64); err == nil {
				p.c.Done(n)
			}
		}
		p.line = p.line[i+1:]
	}
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
