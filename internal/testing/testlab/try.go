package testlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"troy/internal/testing/medium"
	"troy/internal/testing/standin"
)

// Medium makes the installation medium of a Windows that the stand-in plays, see package medium, and
// fills a folder with what is on it.
func (l *Lab) Medium(ctx context.Context, out, content string, seed uint64) error {
	o := &medium.Options{Out: out, Seed: seed}
	return l.playing(ctx, o, func() error {
		if err := o.Fill(content); err != nil {
			return err
		}
		return medium.Make(ctx, o)
	})
}

// playing makes a medium whose Windows the stand-in plays: it is there while do runs.
func (l *Lab) playing(ctx context.Context, o *medium.Options, do func() error) error {
	o.BootManager = o.Out + ".efi"
	defer os.Remove(o.BootManager)
	if err := standin.Build(ctx, &standin.Options{Kernel: l.kernel, Modules: os.Getenv("MODULES"), Out: o.BootManager, Plays: true}); err != nil {
		return err
	}
	return do()
}

// Installed makes the VHDX of a Windows that was set up, and that the stand-in plays.
func (l *Lab) Installed(ctx context.Context, out string, seed uint64) error {
	iso, raw := out+".iso", out+".raw"
	defer os.Remove(iso)
	defer os.Remove(raw)
	o := &medium.Options{Out: iso, Seed: seed, Installed: true}
	if err := l.playing(ctx, o, func() error { return medium.Make(ctx, o) }); err != nil {
		return err
	}
	const size, answers = 128 << 20, "<unattend/>"
	if err := medium.Disk(ctx, iso, size, []byte(answers), raw); err != nil {
		return err
	}
	return l.command(ctx, "vhdx", "convert", "--to", "dynamic", raw, out)
}

// ErrTryKilled: the command was killed as asked.
var ErrTryKilled = errors.New("killed")

// Try runs `troy try` in a folder, with further arguments, as somebody with a small medium does, and
// returns all that it said. Once it has said the text kill, if that is not empty, it is killed:
// ErrTryKilled.
func (l *Lab) Try(ctx context.Context, folder, kill string, args ...string) (string, error) {
	program := filepath.Join(l.o.Dir, "troy-gates.exe")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "troy/cmds/troy-gates")
	build.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	args = append([]string{"try", "--keep", folder, "--result", folder + ".json", "--yes", "--program", program, "--no-secure-boot", "--emulate", "--size", "0.125",
		"--memory", "1024", "--ballast", "4", "--bundle", l.boot}, args...)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	said := &killer{text: kill, kill: func() { stop(ErrTryKilled) }}
	cmd := exec.CommandContext(ctx, l.troy, args...)
	cmd.WaitDelay = 10 * time.Second
	cmd.Stdout = io.MultiWriter(said, l.o.Out)
	cmd.Stderr = cmd.Stdout
	err := cmd.Run()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return said.all.String(), err
}

// killer collects what a program says, and calls kill when a text was said.
type killer struct {
	all  bytes.Buffer
	text string
	kill func()
}

// Write implements io.Writer.
func (k *killer) Write(p []byte) (int, error) {
	k.all.Write(p)
	if k.text != "" && bytes.Contains(k.all.Bytes(), []byte(k.text)) {
		k.kill()
	}
	return len(p), nil
}

// Export writes a version of an image in a store, whose keys lie in a folder, as a raw disk.
func (l *Lab) Export(ctx context.Context, store, keys, image, version, raw string) error {
	disk := raw + ".vhdx"
	defer os.Remove(disk)
	if err := l.command(ctx, "image", "export", "--store", store, "--keys", keys, image, version, disk); err != nil {
		return err
	}
	return l.command(ctx, "vhdx", "convert", "--to", "raw", disk, raw)
}
