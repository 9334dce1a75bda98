package bootfiles

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"troy/chainload/esp"
	"troy/internal/block"
)

// ErrFull: the ESP has no room for the files. Nothing was replaced.
var ErrFull = errors.New("the EFI system partition is full")

// Result says what Apply did.
type Result struct {
	Written int // files that were missing or different
	Kept    int // files that were right, or that stay
}

func (j job) dir() esp.Dir { return esp.Dir(filepath.Dir(j.path)) }

// Apply does what Compare found, on the same ESP, which is writable now. Errors: ErrFull (nothing
// was replaced), and those of the file system.
func (c *Change) Apply(ctx context.Context) (*Result, error) {
	res := &Result{Kept: c.kept}
	err := c.room()
	if err == nil {
		err = c.write(ctx)
	}
	if err != nil {
		c.clean()
		return res, fmt.Errorf("bootfiles: nothing was replaced: %w", err)
	}
	if err := c.replace(res); err != nil {
		return res, fmt.Errorf("bootfiles: %w", err)
	}
	return res, nil
}

// Stash puts the set's boot manager where a later Compare on an ESP without one finds it.
func (s *Set) Stash(root string) error {
	for _, f := range s.Files {
		if f.Path != fallback {
			continue
		}
		dir, err := esp.Dir(root).MakeSub(espBoot)
		if err == nil {
			err = dir.Write(path.Base(stash), f.Data)
		}
		if err != nil {
			return fmt.Errorf("bootfiles: %w", err)
		}
	}
	return nil
}

// room compares the free space with what is to be written, folders included.
func (c *Change) room() error {
	var st unix.Statfs_t
	if err := unix.Statfs(c.root, &st); err != nil {
		return err
	}
	cluster := max(int64(st.Bsize), 512)
	need := int64(0)
	folders := map[string]bool{}
	for _, j := range c.todo {
		need += block.RoundUp(int64(len(j.data)), cluster)
		folders[filepath.Dir(j.path)] = true
	}
	need += int64(len(folders)) * 4 * cluster // entries with long names: 64 files of 4 entries in 4 KiB, some more
	if free := int64(st.Bavail) * int64(st.Bsize); len(c.todo) > 0 && free < need {
		return fmt.Errorf("%w: %d boot files need %d bytes, %d are free", ErrFull, len(c.todo), need, free)
	}
	return nil
}

// write makes all new files beside the old ones and has them on the disk when it returns.
func (c *Change) write(ctx context.Context) error {
	for _, j := range c.todo {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(j.path), 0o755); err != nil {
			return full(err)
		}
		if err := j.dir().Write(filepath.Base(j.path)+suffixNew, j.data); err != nil {
			return full(err)
		}
		if back, err := j.dir().Read(filepath.Base(j.path)+suffixNew, maxFile); err != nil || string(back) != string(j.data) {
			return fmt.Errorf("%s reads back different from what was written (%v)", j.path, err)
		}
	}
	return nil
}

// full adds the class to what the kernel says.
func full(err error) error {
	if errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// clean removes the new files after an error; what it cannot remove the next call does.
func (c *Change) clean() {
	for _, j := range c.todo {
		os.Remove(j.path + suffixNew)
	}
}

// replace renames the new files, the programs that the firmware starts last, and removes what is
// left over.
func (c *Change) replace(res *Result) error {
	starts := func(j job) int {
		switch strings.ToLower(filepath.Base(j.path)) {
		case manager, path.Base(fallback):
			return 1
		}
		return 0
	}
	slices.SortStableFunc(c.todo, func(a, b job) int { return cmp.Compare(starts(a), starts(b)) })
	for _, j := range c.todo {
		if err := os.Rename(j.path+suffixNew, j.path); err != nil {
			return err
		}
		res.Written++
	}
	for _, name := range c.leftover {
		at, err := locate(c.root, name)
		if err == nil {
			err = os.Remove(at)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return esp.SyncFS(c.root)
}
