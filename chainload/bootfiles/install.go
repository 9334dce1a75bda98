package bootfiles

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
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

// suffixNew is what a file is called until it is whole.
const suffixNew = ".troynew"

// Result says what Install did.
type Result struct {
	Written int // files that were missing or different
	Kept    int // files that were right
}

// Install brings the set to the ESP mounted at root, for writing. Files that are right are not
// touched, nor are those that are not in the set. Where a copy of the agent is on the ESP, the file
// that firmware starts without boot entries is the agent's (package selfboot) and left alone.
// Errors: ErrFull (nothing was replaced), and those of the file system.
func (s *Set) Install(ctx context.Context, root string) (*Result, error) {
	in := &installer{root: root, res: &Result{}}
	if err := in.compare(ctx, s.Files); err != nil {
		return in.res, fmt.Errorf("bootfiles: %w", err)
	}
	if len(in.todo) == 0 {
		return in.res, nil
	}
	err := in.room()
	if err == nil {
		err = in.write(ctx)
	}
	if err != nil {
		in.clean()
		return in.res, fmt.Errorf("bootfiles: nothing was replaced: %w", err)
	}
	if err := in.replace(); err != nil {
		return in.res, fmt.Errorf("bootfiles: %w", err)
	}
	return in.res, nil
}

// installer is one call of Install.
type installer struct {
	root string
	todo []job
	res  *Result
}

// job is a file that has to be written.
type job struct {
	path string // where it stands or will stand, in the case it has on disk
	data []byte
}

func (j job) dir() esp.Dir { return esp.Dir(filepath.Dir(j.path)) }

// compare finds what differs, and removes what an earlier call left.
func (in *installer) compare(ctx context.Context, files []File) error {
	agent := esp.Dir(in.root).HasAgent()
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if agent && f.Path == fallback {
			continue
		}
		at, err := in.locate(f.Path)
		if err != nil {
			return err
		}
		if err := os.Remove(at + suffixNew); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		same, err := holds(at, f.Data)
		if err != nil {
			return err
		}
		if same {
			in.res.Kept++
			continue
		}
		in.todo = append(in.todo, job{at, f.Data})
	}
	return nil
}

// locate turns a path of the ESP into one below root, with the names that are there already: FAT
// does not tell case, but the file system that stands at root may.
func (in *installer) locate(name string) (string, error) {
	at := in.root
	for part := range strings.SplitSeq(name, "/") {
		list, err := os.ReadDir(at)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if i := slices.IndexFunc(list, func(e fs.DirEntry) bool { return strings.EqualFold(e.Name(), part) }); i >= 0 {
			part = list[i].Name()
		}
		at = filepath.Join(at, part)
	}
	return at, nil
}

// holds tells whether a file holds the bytes.
func holds(name string, want []byte) (bool, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	have, err := io.ReadAll(io.LimitReader(f, int64(len(want))+1))
	return bytes.Equal(have, want), err
}

// room compares the free space with what is to be written, folders included.
func (in *installer) room() error {
	var st unix.Statfs_t
	if err := unix.Statfs(in.root, &st); err != nil {
		return err
	}
	cluster := max(int64(st.Bsize), 512)
	need := int64(0)
	folders := map[string]bool{}
	for _, j := range in.todo {
		need += block.RoundUp(int64(len(j.data)), cluster)
		folders[filepath.Dir(j.path)] = true
	}
	need += int64(len(folders)) * 4 * cluster // entries with long names: 64 files of 4 entries in 4 KiB, some more
	if free := int64(st.Bavail) * int64(st.Bsize); free < need {
		return fmt.Errorf("%w: %d boot files need %d bytes, %d are free", ErrFull, len(in.todo), need, free)
	}
	return nil
}

// write makes all new files beside the old ones and has them on the disk when it returns.
func (in *installer) write(ctx context.Context) error {
	for _, j := range in.todo {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(j.path), 0o755); err != nil {
			return full(err)
		}
		if err := j.dir().Write(filepath.Base(j.path)+suffixNew, j.data); err != nil {
			return full(err)
		}
		if ok, err := holds(j.path+suffixNew, j.data); err != nil || !ok {
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
func (in *installer) clean() {
	for _, j := range in.todo {
		os.Remove(j.path + suffixNew)
	}
}

// replace renames the new files, the programs that the firmware starts last.
func (in *installer) replace() error {
	starts := func(j job) int {
		switch strings.ToLower(filepath.Base(j.path)) {
		case manager, path.Base(fallback):
			return 1
		}
		return 0
	}
	slices.SortStableFunc(in.todo, func(a, b job) int { return cmp.Compare(starts(a), starts(b)) })
	for _, j := range in.todo {
		if err := os.Rename(j.path+suffixNew, j.path); err != nil {
			return err
		}
		in.res.Written++
	}
	return esp.SyncFS(in.root)
}
