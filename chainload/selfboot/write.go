package selfboot

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"troy/chainload"
	"troy/chainload/esp"
	"troy/chainload/internal/grubenv"
	"troy/internal/block"
	"troy/internal/digest"
	"troy/internal/errline"
)

// ErrFull says that the ESP has no room for a copy; nothing was changed.
var ErrFull = errors.New("selfboot: the ESP is too full")

// reserve is left free on the ESP for others: Windows writes its BCD there.
const reserve = 4 << 20

// writeCopy replaces a copy; see Order of writes in the package comment. Until
// it touches anything the error wraps ErrRelease, ErrSource or ErrFull.
func writeCopy(ctx context.Context, v *esp.Volume, c Copy, files []source, m *manifest) error {
	data, err := m.marshal()
	if err != nil {
		return err
	}
	if err := checkRoom(v, c, m); err != nil {
		return err
	}
	if err := checkSources(ctx, files); err != nil {
		return err
	}
	if err := v.MakeWritable(); err != nil {
		return err
	}
	dir, err := emptyCopy(v, c)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped, copy %s is unfinished: %w", c, err)
		}
		if err := writeFile(dir, f); err != nil {
			return err
		}
	}
	if err := esp.SyncFS(string(dir)); err != nil {
		return err
	}
	if err := checkFiles(dir, m); err != nil {
		return err
	}
	if err := ensureEnv(v); err != nil {
		return err
	}
	return dir.Write(esp.AgentManifest, data)
}

// checkSources reads all files once before the old copy is given up for them.
func checkSources(ctx context.Context, files []source) error {
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped before anything was written: %w", err)
		}
		r, err := f.open()
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrSource, f.Name, err)
		}
		err = compare(r, f.File)
		if err := errline.Join(err, r.Close()); err != nil {
			return fmt.Errorf("%w; nothing was changed", err)
		}
	}
	return nil
}

// checkRoom compares what a copy needs with what is free once the old one is gone.
func checkRoom(v *esp.Volume, c Copy, m *manifest) error {
	var st unix.Statfs_t
	if err := unix.Statfs(string(v.Root), &st); err != nil {
		return err
	}
	old, err := oldSizes(v, c)
	if err != nil {
		return err
	}
	return room(m, old, int64(st.Bavail)*st.Bsize, st.Bsize)
}

// oldSizes are the sizes of the files that will make room.
func oldSizes(v *esp.Volume, c Copy) (sizes []int64, err error) {
	dir, err := v.Root.Sub(c.dir())
	if err != nil {
		return nil, nil // there are none
	}
	old, err := os.ReadDir(string(dir))
	if err != nil {
		return nil, err
	}
	for _, e := range old {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			sizes = append(sizes, info.Size())
		}
	}
	return sizes, nil
}

// room counts in whole clusters.
func room(m *manifest, old []int64, free, cluster int64) error {
	need := int64(reserve) + 8*cluster // directories, manifest, grubenv
	for _, f := range m.Files {
		need += block.RoundUp(f.Size, cluster)
	}
	for _, n := range old {
		free += block.RoundUp(n, cluster)
	}
	if need > free {
		return fmt.Errorf("%w: version %s needs %d bytes, %d are free or would be; nothing was changed", ErrFull, m.Version, need, free)
	}
	return nil
}

// emptyCopy takes the old copy away, its manifest first, so that what is
// half gone or half written is never taken for whole.
func emptyCopy(v *esp.Volume, c Copy) (esp.Dir, error) {
	dir, err := v.Root.MakeSub(c.dir())
	if err != nil {
		return "", err
	}
	if err := dir.Remove(esp.AgentManifest); err != nil {
		return "", err
	}
	if err := esp.SyncFS(string(dir)); err != nil {
		return "", err
	}
	old, err := os.ReadDir(string(dir))
	if err != nil {
		return "", err
	}
	for _, e := range old {
		if err := os.Remove(filepath.Join(string(dir), e.Name())); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// writeFile writes one file and has it on the disk when it returns.
func writeFile(dir esp.Dir, from source) error {
	r, err := from.open()
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrSource, from.Name, err)
	}
	defer r.Close()
	f, err := os.Create(filepath.Join(string(dir), from.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(r, from.Size+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", from.Name, err)
	case n != from.Size || digest.Sum(h.Sum(nil)) != from.SHA256:
		return fmt.Errorf("%w: %s changed while it was read", ErrSource, from.Name)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// checkFiles reads back what was written.
func checkFiles(dir esp.Dir, m *manifest) error {
	for _, f := range m.Files {
		if err := checkFile(dir, f); err != nil {
			return fmt.Errorf("%w: read back: %w", chainload.ErrESP, err)
		}
	}
	return nil
}

// ensureEnv sees to GRUB's environment block, which GRUB can change but not make.
func ensureEnv(v *esp.Volume) error {
	dir, err := v.Root.MakeSub(esp.AgentDir)
	if err != nil {
		return err
	}
	block, err := dir.Read(grubenv.Name, grubenv.Size)
	if err == nil {
		_, err = grubenv.Get(block, grubenv.Next)
	}
	if err == nil {
		return nil
	}
	return dir.Write(grubenv.Name, grubenv.New())
}
