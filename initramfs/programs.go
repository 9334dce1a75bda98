package initramfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/u-root/gobusybox/src/pkg/golang"
	"github.com/u-root/mkuimage/cpio"
	"github.com/u-root/mkuimage/uimage"
	uinitramfs "github.com/u-root/mkuimage/uimage/initramfs"
	"github.com/u-root/uio/llog"
)

// agentDir is where the agent lies in the archive.
const agentDir = "bin"

// Compile builds a Go command of the module around the working directory as a static
// program for Linux on x86-64. The same sources and Go version give the same bytes.
func Compile(ctx context.Context, pkg, out string) error {
	// No VCS stamp: it would make the program depend on more than the sources.
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, bytes.TrimSpace(b))
	}
	return nil
}

// agentFile compiles the agent. It is a program of its own and not part of the
// busybox, because gobusybox compiles without go.mod: the agent would run with
// GODEBUG settings of Go 1.20 and without inlining, not as it was tested. Nor
// can gobusybox find packages of a module whose name has no dot.
func agentFile(ctx context.Context, o *Options, tmp string) (File, error) {
	program := filepath.Join(tmp, "agent")
	if err := Compile(ctx, o.agent(), program); err != nil {
		return File{}, err
	}
	data, err := os.ReadFile(program)
	return File{Name: path.Join(agentDir, path.Base(o.agent())), Data: data, Mode: 0o755}, err
}

// busybox returns the archive of u-root's commands alone, from the cache if it is there.
func busybox(ctx context.Context, o *Options, tmp string) (*cpio.Archive, error) {
	commands := o.commands
	if commands == nil {
		commands = defaultCommands()
	}
	if o.Cache == "" {
		file := filepath.Join(tmp, "busybox.cpio")
		if err := buildBusybox(commands, tmp, file); err != nil {
			return nil, err
		}
		return readArchive(file)
	}
	key, err := cacheKey(ctx, commands)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(o.Cache, "busybox-"+key+".cpio")
	archive, err := readArchive(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return archive, err
	}
	if err := os.MkdirAll(o.Cache, 0o755); err != nil {
		return nil, err
	}
	if err := buildBusybox(commands, tmp, file+".new"); err != nil {
		return nil, err
	}
	if err := os.Rename(file+".new", file); err != nil {
		return nil, err
	}
	return readArchive(file)
}

// cacheKey stands for all that the busybox is made from: the packages' names,
// the versions of their modules, and the Go that compiles them.
func cacheKey(ctx context.Context, commands []string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, "3", commands) // the number changes with the way it is built
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOAMD64", "GOEXPERIMENT", "GOMOD")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	mod := lines[len(lines)-1]
	fmt.Fprintln(h, lines[:len(lines)-1])
	for _, name := range []string{mod, strings.TrimSuffix(mod, ".mod") + ".sum"} {
		b, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("the Go module: %w", err)
		}
		fmt.Fprintf(h, "%x\n", sha256.Sum256(b))
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), nil
}

// buildBusybox compiles u-root's commands into one program and writes it with its
// links, as a cpio archive.
func buildBusybox(commands []string, tmp, file string) error {
	env, err := goEnvironment()
	if err != nil {
		return err
	}
	var log bytes.Buffer
	err = uimage.Create(llog.New(0, llog.WritePrintf(&log)),
		uimage.WithReplaceEnv(env),
		uimage.WithTempDir(tmp),
		uimage.WithBusyboxCommands(slices.Clone(commands)...),
		uimage.WithInit("init"),
		uimage.WithSymlink("bin/sh", "gosh"),
		uimage.WithSkipLDD(),
		uimage.WithOutput(&uinitramfs.CPIOFile{Path: file}))
	if err != nil {
		return fmt.Errorf("building u-root's commands: %w\n%s", err, log.String())
	}
	return nil
}

// shellTag builds gosh without its own line editor, which takes hold of the
// terminal in ways that serial lines answer badly. The kernel's line editing remains.
const shellTag = "goshsmall"

// goEnvironment is how the busybox is compiled: static, for amd64, with the go
// command of PATH, whatever Go this program was itself built with.
func goEnvironment() (*golang.Environ, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("the go command is needed to build the programs: %w", err)
	}
	return golang.Default(golang.DisableCGO(), golang.WithGOOS("linux"), golang.WithGOARCH("amd64"), golang.WithBuildTag(shellTag),
		golang.WithGOROOT(strings.TrimSpace(string(out))), golang.WithWorkingDir(dir)), nil
}

// readArchive reads a cpio archive into memory.
func readArchive(file string) (*cpio.Archive, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	a, err := cpio.ArchiveFromReader(cpio.EOFReader{RecordReader: cpio.Newc.Reader(bytes.NewReader(b))})
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return a, nil
}
