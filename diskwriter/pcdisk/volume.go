package pcdisk

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/internal/block"
	"troy/internal/errline"
)

// volumeOptions says how to make the data volume. Sizes nil makes no files.
type volumeOptions struct {
	Sizes       Sizes
	ClusterSize int // bytes; 0: 4096
	// TempDir holds the scratch file, which is as large as the volume but sparse
	// (some tens of MB are real); "" is the system's.
	TempDir string
}

// scratch is the sparse file in which a volume is made.
type scratch struct {
	dir     string
	f       *os.File
	mounted bool // a tmpfs of its own stands at dir
}

func (s *scratch) close() {
	if s.f != nil {
		s.f.Close()
	}
	if s.mounted {
		unix.Unmount(s.dir, unix.MNT_DETACH)
	}
	os.RemoveAll(s.dir)
}

// newScratch makes the empty file. A ramfs, as the root of an initramfs can be, cannot say where a
// sparse file has data, and keeps in memory whatever was read once: there the file gets a tmpfs of
// its own, which does both right.
func newScratch(temp string) (*scratch, error) {
	dir, err := os.MkdirTemp(temp, "volume-")
	if err != nil {
		return nil, err
	}
	s := &scratch{dir: dir}
	if s.dir, err = filepath.Abs(dir); err == nil {
		err = s.leaveRamfs()
	}
	if err == nil {
		s.f, err = os.Create(filepath.Join(s.dir, "ntfs"))
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *scratch) leaveRamfs() error {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil || int64(st.Type) != unix.RAMFS_MAGIC {
		return err
	}
	if err := unix.Mount("tmpfs", s.dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
		return fmt.Errorf("mount a tmpfs at %s: %w", s.dir, err)
	}
	s.mounted = true
	return nil
}

// buildVolume makes a whole volume of size bytes in a scratch file.
func buildVolume(ctx context.Context, size, start int64, sector int, o *volumeOptions) (*scratch, error) {
	names, err := o.Sizes.check()
	if err != nil {
		return nil, err
	}
	s, err := newScratch(o.TempDir)
	if err != nil {
		return nil, err
	}
	if err := s.build(ctx, size, start, sector, names, o); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *scratch) build(ctx context.Context, size, start int64, sector int, names []string, o *volumeOptions) error {
	if err := s.f.Truncate(size); err != nil {
		return err
	}
	if err := s.mkntfs(ctx, start, sector, o); err != nil {
		return err
	}
	if len(names) == 0 {
		return nil
	}
	if err := Mounted(ctx, s.f.Name(), func(root string) error { return makeEmpty(root, names) }); err != nil {
		return err
	}
	if err := s.allocate(names, o.Sizes); err != nil {
		return err
	}
	return Mounted(ctx, s.f.Name(), func(root string) error { return touch(root, names, o.Sizes) })
}

func (s *scratch) mkntfs(ctx context.Context, start int64, sector int, o *volumeOptions) error {
	cluster := o.ClusterSize
	if cluster == 0 {
		cluster = 4096
	}
	return run(ctx, "mkntfs", "-q", "-Q", "-F", "-I", "-s", strconv.Itoa(sector), "-c", strconv.Itoa(cluster),
		"-p", strconv.FormatInt(min(start/int64(sector), 1<<32-1), 10), "-H", "255", "-S", "63", "-L", "Troy", s.f.Name())
}

// makeEmpty makes the folder and empty files.
func makeEmpty(root string, names []string) error {
	dir := filepath.Join(root, "Troy")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// touch sets the times of the files, by which ntfs-3g also brings their sizes in the directory up to
// date, checks that it sees those sizes, and protects them.
func touch(root string, names []string, sizes Sizes) error {
	now := time.Now()
	for _, name := range names {
		path := filepath.Join(root, "Troy", name)
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		if st.Size() < sizes[name] {
			return fmt.Errorf("ntfs-3g sees %s with %d bytes instead of %d: %w", name, st.Size(), sizes[name], ErrTool)
		}
		if err := errline.Join(os.Chtimes(path, now, now), protect(path, false)); err != nil {
			return err
		}
	}
	return protect(filepath.Join(root, "Troy"), true)
}

// allocate gives every file its clusters.
func (s *scratch) allocate(names []string, sizes Sizes) error {
	v, err := s.open()
	if err != nil {
		return err
	}
	free, err := v.FreeRuns()
	if err != nil {
		return err
	}
	g := v.Geometry()
	cs := int64(g.ClusterSize)
	// Room behind $MFT for it to grow in one piece, if the disk can spare it.
	reserve := g.MFT + min(64*mib, g.Clusters*cs/16)/cs
	runs, err := place(free, reserve, cs, names, sizes)
	if err != nil {
		runs, err = place(free, 0, cs, names, sizes)
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.allocateOne(name, runs[name]); err != nil {
			return err
		}
	}
	return s.f.Sync()
}

func (s *scratch) open() (*ntfs.Volume, error) {
	st, err := s.f.Stat()
	if err != nil {
		return nil, err
	}
	return ntfs.Open(s.f, st.Size())
}

func (s *scratch) allocateOne(name string, runs []ntfs.Run) error {
	v, err := s.open()
	if err != nil {
		return err
	}
	patches, err := v.AllocatePatches(Folder+name, runs)
	if err != nil {
		return err
	}
	for _, p := range patches {
		if _, err := s.f.WriteAt(p.Data, p.Offset); err != nil {
			return err
		}
	}
	return nil
}

// copyTo copies the data extents of the scratch file to the partition, its first
// page, which makes it a volume, after a flush and last.
func (s *scratch) copyTo(ctx context.Context, part *blockdev.Partition) error {
	first := block.Aligned(ntfs.PageSize)
	if _, err := part.WriteAt(first, 0); err != nil {
		return fmt.Errorf("erase the old boot sector: %w", err)
	}
	buf := block.Aligned(mib)
	for pos, end := int64(ntfs.PageSize), part.Size(); pos < end; {
		data, hole, err := s.extent(pos, end)
		if err != nil {
			return err
		}
		for pos = data; pos < hole; {
			if err := ctx.Err(); err != nil {
				return err
			}
			b := buf[:min(int64(len(buf)), hole-pos)]
			if _, err := io.ReadFull(io.NewSectionReader(s.f, pos, int64(len(b))), b); err != nil {
				return err
			}
			if _, err := part.WriteAt(b, pos); err != nil {
				return err
			}
			pos += int64(len(b))
		}
	}
	if err := part.Sync(); err != nil {
		return err
	}
	if _, err := s.f.ReadAt(first, 0); err != nil {
		return err
	}
	if _, err := part.WriteAt(first, 0); err != nil {
		return err
	}
	return part.Sync()
}

// extent returns the next data extent at or behind pos; empty at end when there is
// none.
func (s *scratch) extent(pos, end int64) (data, hole int64, err error) {
	fd := int(s.f.Fd())
	if data, err = unix.Seek(fd, pos, unix.SEEK_DATA); err == unix.ENXIO {
		return end, end, nil
	}
	if err == nil {
		hole, err = unix.Seek(fd, data, unix.SEEK_HOLE)
	}
	return data, min(hole, end), err
}
