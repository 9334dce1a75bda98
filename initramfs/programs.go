package initramfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/u-root/mkuimage/cpio"

	"troy/internal/durable"
)

// agentDir is where the agent lies in the archive.
const agentDir = "bin"

// Compile builds a Go command of the module around the working directory as a static
// program for Linux on x86-64. The same sources and Go version give the same bytes.
// The release is what the program says of itself (package version).
func Compile(ctx context.Context, pkg, out, release string) error {
	// Without the stamp of the repository, which the go command leaves out in some checkouts.
	_, err := goCommand(ctx, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64"},
		"go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid= -X troy/internal/version.named="+release, "-o", out, pkg)
	if err != nil {
		return fmt.Errorf("building %s: %w", pkg, err)
	}
	return nil
}

// agentFile compiles the agent. It is a program of its own and not part of the
// busybox, because gobusybox compiles without go.mod: the agent would run with
// GODEBUG settings of Go 1.20 and without inlining, not as it was tested. Nor
// can gobusybox find packages of a module whose name has no dot.
func agentFile(ctx context.Context, o *Options, tmp string) (File, error) {
	program := filepath.Join(tmp, "agent")
	if err := Compile(ctx, o.agent(), program, o.Version); err != nil {
		return File{}, err
	}
	data, err := os.ReadFile(program)
	return File{Name: path.Join(agentDir, path.Base(o.agent())), Data: data, Mode: 0o755}, err
}

// busybox returns u-root's commands, one program and a link for each, from the cache if it is
// there.
func busybox(ctx context.Context, cache string, commands []string, tmp string) ([]cpio.Record, error) {
	program, err := busyboxProgram(ctx, cache, commands, tmp)
	if err != nil {
		return nil, err
	}
	records := []cpio.Record{
		File{Name: "bbin/bb", Data: program, Mode: 0o755}.record(),
	}
	for _, c := range commands {
		records = append(records, cpio.Symlink("bbin/"+path.Base(c), "bb"))
	}
	return records, nil
}

func busyboxProgram(ctx context.Context, cache string, commands []string, tmp string) ([]byte, error) {
	if cache == "" {
		return buildBusybox(ctx, commands, tmp)
	}
	key, err := cacheKey(ctx, commands)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(cache, "busybox-"+key)
	program, err := os.ReadFile(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return program, err
	}
	if program, err = buildBusybox(ctx, commands, tmp); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	return program, durable.WriteFile(file, program, 0o644)
}

// cacheKey identifies everything that the busybox is made from: the packages' names,
// the versions of their modules, and the Go that compiles them.
func cacheKey(ctx context.Context, commands []string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, "4", commands) // the number changes with the way it is built
	out, err := goCommand(ctx, nil, "go", "env", "GOVERSION", "GOAMD64", "GOEXPERIMENT", "GOMOD")
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
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

// makebb compiles many Go commands into one program. It runs as a program of its own, because what
// it is linked from writes to the user's cache folder as soon as it is imported.
const makebb = "github.com/u-root/gobusybox/src/cmd/makebb"

// shellTag builds gosh without its own line editor, which takes hold of the
// terminal in ways that serial lines answer badly. The kernel's line editing remains.
const shellTag = "goshsmall"

// buildBusybox compiles u-root's commands into one program: static, for amd64, with the go command
// of PATH, whatever Go this program was itself built with.
func buildBusybox(ctx context.Context, commands []string, tmp string) ([]byte, error) {
	tool, out := filepath.Join(tmp, "makebb"), filepath.Join(tmp, "bb")
	text, err := goCommand(ctx, nil, "go", "env", "GOROOT", "GOCACHE")
	if err != nil {
		return nil, fmt.Errorf("the go command is needed to build the programs: %w", err)
	}
	root, cache, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if _, err := goCommand(ctx, []string{"CGO_ENABLED=0"}, "go", "build", "-o", tool, makebb); err != nil {
		return nil, fmt.Errorf("building %s: %w", makebb, err)
	}
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOROOT=" + root, "GOCACHE=" + cache, "XDG_CACHE_HOME=" + tmp}
	args := append([]string{tool, "-o", out, "-gen-dir", filepath.Join(tmp, "bb-source"), "-go-build-tags", shellTag}, commands...)
	if _, err := goCommand(ctx, env, args...); err != nil {
		return nil, fmt.Errorf("building u-root's commands: %w", err)
	}
	return os.ReadFile(out)
}

// goCommand runs a command. The error has what it wrote.
func goCommand(ctx context.Context, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w\n%s%s", err, out.Bytes(), bytes.TrimSpace(log.Bytes()))
	}
	return out.String(), nil
}
