package testlab

import (
	"context"
	"os"
	"path/filepath"

	"troy/initramfs"
)

// Next is the lab after an upgrade to the next release (internal/format): the same store, network
// and PCs, and a troy that was built with the tag next.
func (l *Lab) Next(ctx context.Context) (*Lab, error) {
	n := *l
	n.troy = filepath.Join(l.o.Dir, "troy-next")
	return &n, run(ctx, "go", "build", "-tags", "next", "-trimpath", "-o", n.troy, "troy/cmds/troy")
}

// NextAgent is the agent of the next release, as a file for an initramfs of this one.
func NextAgent(ctx context.Context, dir string) (initramfs.File, error) {
	program := filepath.Join(dir, "agent-next")
	if err := run(ctx, "go", "build", "-tags", "next", "-trimpath", "-o", program, "troy/cmds/deploy"); err != nil {
		return initramfs.File{}, err
	}
	b, err := os.ReadFile(program)
	return initramfs.File{Name: "bin/deploy", Data: b, Mode: 0o755}, err
}

// AddRaw publishes a raw image as the next version of the lab's image.
func (l *Lab) AddRaw(ctx context.Context, raw string) error {
	disk := filepath.Join(l.o.Dir, "added.vhdx")
	defer os.Remove(disk)
	if err := l.command(ctx, "vhdx", "convert", "--to", "dynamic", raw, disk); err != nil {
		return err
	}
	return l.image(ctx, "add", "--compare", Image, disk)
}
