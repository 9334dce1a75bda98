package pcdisk

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"troy/diskwriter/blockdev"
)

// BootFile is a file to be put on the ESP.
type BootFile struct {
	Path string // below the root of the ESP, with slashes: EFI/Microsoft/Boot/BCD
	Data []byte
}

// writeBootFiles writes files on the ESP of the disk or image file at disk, with mtools, and
// flushes; it may be called again. For the ESP of a machine that boots see package bootfiles.
// Errors: ErrTool.
func writeBootFiles(ctx context.Context, disk string, esp blockdev.Entry, files []BootFile) error {
	if len(files) == 0 {
		return nil
	}
	dir, err := os.MkdirTemp("", "esp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	image := fmt.Sprintf("%s@@%d", disk, esp.Start)
	made := map[string]bool{}
	for _, file := range files {
		if err := makeFolders(ctx, image, path.Dir(file.Path), made); err != nil {
			return err
		}
		from := filepath.Join(dir, "file")
		if err := os.WriteFile(from, file.Data, 0o644); err != nil {
			return err
		}
		if err := run(ctx, "mcopy", "-o", "-i", image, from, "::/"+file.Path); err != nil {
			return err
		}
	}
	return flush(disk)
}

// makeFolders makes a folder and those above it, once.
func makeFolders(ctx context.Context, image, dir string, made map[string]bool) error {
	for i := range len(dir) + 1 {
		if i < len(dir) && dir[i] != '/' || made[dir[:i]] || dir[:i] == "." {
			continue
		}
		if run(ctx, "mdir", "-b", "-i", image, "::/"+strings.TrimPrefix(dir[:i], "/")) == nil {
			made[dir[:i]] = true // by an earlier call
			continue
		}
		if err := run(ctx, "mmd", "-i", image, "::/"+strings.TrimPrefix(dir[:i], "/")); err != nil {
			return err
		}
		made[dir[:i]] = true
	}
	return nil
}

// flush makes durable what other programs wrote to the disk.
func flush(disk string) error {
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
