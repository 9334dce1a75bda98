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
}

// write packs the parts, joins them in o.Out and notes their sizes. An empty part is left out.
func (info *Info) write(ctx context.Context, o *Options, parts []piece) error {
	var all []cpio.Record
	for _, p := range parts {
		all = append(all, p.records...)
	}
	if _, err := assemble(all); err != nil {
		return err // two files of one name, in one part or in two
	}
	return replaceFile(o.Out, func(w *os.File) error {
		for _, p := range parts {
			if len(p.records) == 0 {
				continue
			}
			if err := info.writePart(ctx, o, p, w); err != nil {
				return fmt.Errorf("initramfs: %s: %w", p.name, err)
			}
		}
		return nil
	})
}

func (info *Info) writePart(ctx context.Context, o *Options, p piece, w io.Writer) error {
	archive, err := assemble(p.records)
	if err != nil {
		return err
	}
	var raw bytes.Buffer
	if err := copyRecords(cpio.Newc.Writer(&raw), archive); err != nil {
		return err
	}
	// The agent changes with every build: keeping it would only fill the folder.
	cache := o.Cache
	if p.name == "agent" {
		cache = ""
	}
	packed, err := compress(ctx, raw.Bytes(), cache)
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

// compress returns raw as one zstd frame, from the cache folder if it is there.
func compress(ctx context.Context, raw []byte, cache string) ([]byte, error) {
	version, err := exec.CommandContext(ctx, "zstd", "--version").Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, ErrNoZstd
	}
	if err != nil {
		return nil, fmt.Errorf("zstd --version: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%q\n%x", version, zstdArgs, sha256.Sum256(raw)))
	kept := filepath.Join(cache, fmt.Sprintf("part-%x.zst", sum[:8]))
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
