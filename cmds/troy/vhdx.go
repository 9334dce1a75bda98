package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"troy/vhdx"
)

// vhdxCommand returns the commands that work on VHDX files.
//
// A parent is looked for under the file name that the child's locator gives, in the child's own folder, and among the
// files that --parent names (nearest first); no other path in a file is ever followed. New files appear under their
// name when they are complete and durable, and replace a file only with --force. Reading never changes a file: a log
// that was left behind is replayed in memory. merge and relink change files in place.
//
// With --json a command prints one JSON document on the standard output: the types of this package whose names begin
// with "json" tell its fields. All sizes and offsets are bytes; fields may be added, none changes its meaning. Errors
// and progress go to the standard error, with or without --json.
func vhdxCommand() command {
	return command{name: "vhdx", sub: []command{
		{name: "info", args: "[--json] FILE…", short: "what a file is", run: runVHDXInfo},
		{name: "map", args: "[--json] [--parent FILE]… FILE", short: "where the content of the disk is", run: runVHDXMap},
		{name: "check", args: "[--json] [--parent FILE]… FILE…", short: "look for damage", run: runVHDXCheck},
		{name: "create", args: "[--json] [--size N[K|M|G|T]] [--type fixed|dynamic|differencing] [--parent FILE] [--block-size N[K|M]]" +
			" [--logical-sector-size 512|4096] [--physical-sector-size 512|4096] [--force] FILE", short: "make an empty disk", run: runVHDXCreate},
		{name: "convert", args: "[--json] --to raw|fixed|dynamic [--parent FILE]… [--force] SRC DST", short: "copy a raw image, a disk or a chain into one new file", run: runVHDXConvert},
		{name: "merge", args: "[--json] [--parent FILE]… [--keep-identity] CHILD", short: "carry a child into its parent, in place", run: runVHDXMerge},
		{name: "relink", args: "[--json] [--parent FILE] [--path STRING] [--absolute-path STRING] [--volume-path STRING] [--ignore-mismatch] CHILD",
			short: "let a child name its parent anew", run: runVHDXRelink},
	}}
}

// vhdxCall is a call with the flags that all vhdx commands share.
type vhdxCall struct {
	*call
	fs   flagSet
	json bool
}

func newVHDXCall(c *call) *vhdxCall {
	v := &vhdxCall{call: c, fs: c.flags()}
	v.fs.BoolVar(&v.json, "json", false, "print JSON instead of text")
	return v
}

// printJSON writes one document.
func (v *vhdxCall) printJSON(doc any) error {
	e := json.NewEncoder(v.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(doc)
}

// note tells on the standard error what is worth knowing but no error.
func (v *vhdxCall) note(format string, args ...any) {
	fmt.Fprintf(v.stderr, "troy: note: %s\n", clean(fmt.Sprintf(format, args...)))
}

// fault is an error with what became of the files, and what to do about it, in one line.
type fault struct {
	err          error
	fate, advice string
}

// Error implements error. Names in files are claims: they must not move the cursor.
func (f *fault) Error() string {
	parts := []string{clean(f.err.Error())}
	for _, s := range []string{f.fate, f.advice} {
		if s != "" {
			parts = append(parts, clean(s))
		}
	}
	return strings.Join(parts, "; ")
}

// Unwrap returns the cause.
func (f *fault) Unwrap() error { return f.err }

// explain adds what became of the files and what to do. Wrong usage stays as it is.
func explain(err error, fate string) error {
	var usage *usageError
	var known *fault
	switch {
	case err == nil, errors.As(err, &usage), errors.Is(err, errHelp):
		return err
	case errors.As(err, &known) && known.fate != "":
		return err
	case errors.As(err, &known):
		return &fault{known.err, fate, known.advice}
	}
	return &fault{err, fate, advice(err)}
}

// advice tells what can be done about a class of errors.
func advice(err error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return "run the command again"
	case errors.Is(err, fs.ErrExist):
		return "--force replaces it"
	case errors.Is(err, vhdx.ErrChainMismatch):
		return "name the right parent with --parent"
	case errors.Is(err, vhdx.ErrCorrupt):
		return "'troy vhdx check' lists what is wrong with it"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, vhdx.ErrNoSpace):
		return "make room and run the command again"
	}
	return ""
}

// clean makes text one line that a terminal only shows.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ReplaceAll(s, "\n", "; "))
}

// nothingChanged is the fate of files that were only read.
const nothingChanged = "no file was changed"

// size is a flag that takes a count of bytes with a binary suffix.
type size int64

// String implements flag.Value.
func (s *size) String() string { return strconv.FormatInt(int64(*s), 10) }

// Set implements flag.Value.
func (s *size) Set(text string) error {
	digits, shift := text, 0
	if n := len(text); n > 0 {
		if i := strings.IndexByte("KMGT", text[n-1]&^0x20); i >= 0 {
			digits, shift = text[:n-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n == 0 || n > math.MaxInt64>>shift {
		return errors.New("want a number of bytes, with K, M, G or T for binary multiples")
	}
	*s = size(n << shift)
	return nil
}

// target is a file that is about to be made.
type target struct {
	path   string
	before fs.FileInfo // nil: nothing was there
}

// newTarget refuses what must not be replaced.
func newTarget(path string, force bool) (*target, error) {
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return nil, err
	}
	t := &target{path: path}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file (%v): only files are made and replaced", path, info.Mode().Type())
	case !force:
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	t.before = info
	return t, nil
}

// isOneOf refuses a target that the command also reads.
func (t *target) isOneOf(read ...string) error {
	for _, path := range read {
		if sameFile(t.path, path) {
			return fmt.Errorf("%s would be replaced while it is read", t.path)
		}
	}
	return nil
}

// fate tells what became of the target, as the file system has it.
func (t *target) fate() string {
	after, err := os.Lstat(t.path)
	switch {
	case err != nil && t.before == nil:
		return t.path + " was not made"
	case err == nil && t.before != nil && os.SameFile(t.before, after):
		return t.path + " is as it was"
	}
	return t.path + " is there, but may not survive a power cut"
}

// sameFile reports whether two paths lead to one file.
func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
