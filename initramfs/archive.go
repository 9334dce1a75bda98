package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/mkuimage/cpio"

	"troy/internal/block"
	"troy/internal/durable"
)

// skeleton holds the directories and the few devices that init wants before it
// has mounted anything. No resolver address and no time zone are baked in.
func skeleton() []cpio.Record {
	var records []cpio.Record
	for _, d := range []string{"bin", "dev", "etc", "lib", "mnt", "proc", "root", "run", "sbin", "sys", "usr", "var"} {
		records = append(records, cpio.Directory(d, 0o755))
	}
	return append(records,
		cpio.Directory("tmp", 0o777),
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.CharDev("dev/tty", 0o666, 5, 0),
		cpio.CharDev("dev/kmsg", 0o600, 1, 11),
		cpio.CharDev("dev/null", 0o666, 1, 3),
		cpio.Symlink("sbin/modprobe", "../bbin/modprobe"))
}

func (f File) record() cpio.Record {
	mode := uint64(f.Mode)
	if mode == 0 {
		mode = 0o644
	}
	name := strings.TrimPrefix(path.Clean(f.Name), "/")
	return cpio.StaticRecord(f.Data, cpio.Info{Name: name, Mode: cpio.S_IFREG | mode})
}

func fileRecords(files []File) []cpio.Record {
	var records []cpio.Record
	for _, f := range files {
		records = append(records, f.record())
	}
	return records
}

// ErrDuplicate says that two files of the archive have the same name.
var ErrDuplicate = errors.New("two files of the same name")

// assemble joins records into one archive, sorted by name so that each directory
// comes before its content, and adds the directories that are missing from the lists.
func assemble(lists ...[]cpio.Record) (*cpio.Archive, error) {
	a := cpio.InMemArchive()
	for _, r := range slices.Concat(lists...) {
		if r.Name == cpio.Trailer {
			continue
		}
		old, twice := a.Files[r.Name]
		if twice && (!isDir(old) || !isDir(r)) {
			return nil, fmt.Errorf("initramfs: %w: %s", ErrDuplicate, r.Name)
		}
		for dir := path.Dir(r.Name); dir != "."; dir = path.Dir(dir) {
			if _, ok := a.Files[dir]; !ok {
				a.Files[dir] = cpio.Directory(dir, 0o755)
			}
		}
		if !twice {
			a.Files[r.Name] = r
		}
	}
	a.Order = slices.Sorted(maps.Keys(a.Files))
	return a, nil
}

func isDir(r cpio.Record) bool { return r.Mode&cpio.S_IFMT == cpio.S_IFDIR }

// Pack writes a compressed cpio archive of the given files alone, beside the few
// directories and devices that every init wants. It is compressed fast and
// not as small as can be.
func Pack(out string, files []File) error {
	archive, err := assemble(skeleton(), fileRecords(files))
	if err != nil {
		return err
	}
	return replaceFile(out, func(w *os.File) error {
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1)) // with more the result would depend on timing
		if err != nil {
			return err
		}
		return errors.Join(copyRecords(cpio.Newc.Writer(z), archive), z.Close())
	})
}

// Site is the archive of the files that a site adds to the initramfs. It is not compressed, so that
// the same files give the same bytes whatever library packs them.
func Site(files []File) ([]byte, error) {
	archive, err := assemble(fileRecords(files))
	if err != nil {
		return nil, err
	}
	var raw bytes.Buffer
	err = copyRecords(cpio.Newc.Writer(&raw), archive)
	return block.Pad(raw.Bytes(), unit), err
}

func copyRecords(w cpio.RecordWriter, archive *cpio.Archive) error {
	for _, name := range archive.Order {
		if err := w.WriteRecord(cpio.MakeReproducible(archive.Files[name])); err != nil {
			return fmt.Errorf("initramfs: %s: %w", name, err)
		}
	}
	return cpio.WriteTrailer(w)
}

// replaceFile puts a file at path when write has succeeded.
func replaceFile(path string, write func(*os.File) error) error {
	f, err := durable.Create(path, 0o644)
	if err != nil {
		return err
	}
	defer f.Abandon()
	if err := write(f.File); err != nil {
		return err
	}
	return f.Commit()
}
