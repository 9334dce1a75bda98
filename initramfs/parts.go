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
	"path/filepath"
	"strconv"
	"strings"

	"github.com/u-root/mkuimage/cpio"

	"troy/internal/block"
	"troy/internal/durable"
)

// Part is one of the archives that an initramfs consists of. They are compressed
// one by one, so that what seldom changes need not be compressed again.
type Part struct {
	Name    string // u-root, drivers, programs, agent
	RawSize int64  // bytes of the cpio archive
	Size    int64  // bytes in the initramfs
}

// ErrNoZstd says that the program that compresses is not installed.
var ErrNoZstd = errors.New("zstd is not installed (Debian package zstd)")

// piece is a part before it is packed.
type piece struct {
	name    string
	records []cpio.Record
	latest  string // a program that changes with every build: the cache keeps one frame of this name
}

// unit is to what GRUB and our media align archives that lie behind each other: the kernel takes an
// uncompressed one only there.
const unit = 4

// write packs the parts, joins them in a file and notes their sizes. An empty part is left out.
func (info *Info) write(ctx context.Context, cache, out string, parts []piece) error {
	var all []cpio.Record
	for _, p := range parts {
		all = append(all, p.records...)
	}
	if _, err := assemble(all); err != nil {
		return err // two files of one name, in one part or in two
	}
	return replaceFile(out, func(w *os.File) error {
		for _, p := range parts {
			if len(p.records) == 0 {
				continue
			}
			if err := info.writePart(ctx, cache, p, w); err != nil {
				return fmt.Errorf("initramfs: %s: %w", p.name, err)
			}
		}
		end := block.RoundUp(info.Size, unit)
		_, err := w.Write(make([]byte, end-info.Size))
		info.Size = end
		return err
	})
}

func (info *Info) writePart(ctx context.Context, cache string, p piece, w io.Writer) error {
	archive, err := assemble(p.records)
	if err != nil {
		return err
	}
	var raw bytes.Buffer
	if err := copyRecords(cpio.Newc.Writer(&raw), archive); err != nil {
		return err
	}
	packed, err := compress(ctx, raw.Bytes(), cache, p.latest)
	if err != nil {
		return err
	}
	info.Parts = append(info.Parts, Part{Name: p.name, RawSize: int64(raw.Len()), Size: int64(len(packed))})
	info.RawSize += int64(raw.Len())
	info.Size += int64(len(packed))
	_, err = w.Write(packed)
	return err
}

// zstdArgs is zstd at its best, which saves an eighth against Go's own encoder. The window is that
// of the kernel's default limits (it would accept 128 MiB) and costs the machine that much memory
// while it unpacks. One thread, because the result must not depend on their number.
var zstdArgs = []string{"--ultra", "-22", "--zstd=wlog=25", "--single-thread", "-q", "-c"}

// compress returns raw as one zstd frame, from the cache folder if it is there. The folder keeps
// the last frame of each name; without a name, all.
func compress(ctx context.Context, raw []byte, cache, name string) ([]byte, error) {
	version, err := exec.CommandContext(ctx, "zstd", "--version").Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, ErrNoZstd
	}
	if err != nil {
		return nil, fmt.Errorf("zstd --version: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%q\n%x", version, zstdArgs, sha256.Sum256(raw)))
	kept := filepath.Join(cache, fmt.Sprintf("part-%s-%x.zst", name, sum[:8]))
	if cache != "" {
		packed, err := os.ReadFile(kept)
		if !errors.Is(err, fs.ErrNotExist) {
			return packed, err
		}
	}
	packed, err := runZstd(ctx, raw)
	if err != nil || cache == "" {
		return packed, err
	}
	if name != "" {
		old, _ := filepath.Glob(filepath.Join(cache, "part-"+name+"-*.zst")) // the pattern is good
		for _, o := range old {
			os.Remove(o) // another build may have been faster
		}
	}
	return packed, durable.WriteFile(kept, packed, 0o644)
}

func runZstd(ctx context.Context, raw []byte) ([]byte, error) {
	// The size goes into the frame, so that the kernel knows how much memory it takes.
	cmd := exec.CommandContext(ctx, "zstd", append(zstdArgs, "--stream-size="+strconv.Itoa(len(raw)))...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"} // not ZSTD_CLEVEL
	cmd.Stdin = bytes.NewReader(raw)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("zstd: %w: %s", err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}
