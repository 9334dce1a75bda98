package source

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"troy/chainload/bootfiles"
	"troy/internal/block"
	"troy/internal/progress"
	"troy/internal/tool"
	"troy/vhdx"
)

// wim is an archive of editions of Windows: .wim, .esd, or .swm in several parts.
type wim struct{ path string }

// Marks of a WIM; the second is one that can be read from a pipe.
const (
	wimMark  = "MSWIM\x00\x00\x00"
	pipeMark = "WLPWM\x00\x00\x00"
)

// Kind implements Source.
func (wim) Kind() string { return "WIM" }

func (wim) installs() {}

// Open implements Source: it applies an edition to a new volume. Errors: an *EditionError,
// ErrNoWindows, ErrNoSpace, ErrCut, tool.Error.
func (w wim) Open(ctx context.Context, o *Options) (*Disk, error) {
	return w.open(ctx, o, w.path)
}

// open is Open for an archive that people know as name.
func (w wim) open(ctx context.Context, o *Options, name string) (*Disk, error) {
	parts, err := w.parts()
	if err != nil {
		return nil, err
	}
	list, err := editions(ctx, w.path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	e, err := Choose(list, o.Windows.Edition, name)
	if err != nil {
		return nil, err
	}
	answers, err := o.Windows.answerFile(e)
	if err != nil {
		return nil, err
	}
	f, err := w.apply(ctx, o, e, parts, answers)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d, err := frameApplied(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	}
	d.note("edition %d of %s: %s, build %s", e.Index, filepath.Base(name), e.Name, e.Build)
	return d, nil
}

// parts returns the glob for the other parts of a split archive, "" for a whole one. All have to be
// there.
func (w wim) parts() (string, error) {
	f, err := os.Open(w.path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, 48)
	if err := block.ReadFull(f, b, 0); err != nil {
		return "", fmt.Errorf("%w: %s ends within its header", ErrCut, w.path)
	}
	number, total := binary.LittleEndian.Uint16(b[40:]), binary.LittleEndian.Uint16(b[42:])
	ext := filepath.Ext(w.path)
	stem := strings.TrimSuffix(w.path, ext)
	switch {
	case total <= 1:
		return "", nil
	case number != 1:
		return "", fmt.Errorf("%s is part %d of %d: name the first one", w.path, number, total)
	}
	for n := 2; n <= int(total); n++ {
		if _, err := os.Stat(fmt.Sprintf("%s%d%s", stem, n, ext)); err != nil {
			return "", fmt.Errorf("part %d of %d: %w", n, total, err)
		}
	}
	return escapeGlob(stem) + "*" + ext, nil
}

// escapeGlob keeps the signs of a pattern in a path from being one.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// apply makes the volume: the programs write to a file without a mount, as any user.
func (w wim) apply(ctx context.Context, o *Options, e *Edition, parts string, answers []byte) (*vhdx.Raw, error) {
	size := o.Windows.size() - frameSize
	if need := volumeNeed(e.Bytes); need > size {
		return nil, fmt.Errorf("%w: edition %d holds %s and needs a disk of %s at least, --size gives %s", ErrNoSpace,
			e.Index, progress.Bytes(e.Bytes), progress.Bytes(need+frameSize), progress.Bytes(o.Windows.size()))
	}
	dir, err := o.room("the volume with the edition", volumeNeed(e.Bytes))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "volume")
	defer os.Remove(path)
	if err := makeVolume(ctx, path, size); err != nil {
		return nil, err
	}
	args := []string{"apply", w.path, fmt.Sprint(e.Index), path}
	if parts != "" {
		args = append(args, "--ref="+parts)
	}
	stage := o.Progress.Rough("applying", e.Bytes)
	err = tool.Run(ctx, &tool.Command{Name: "wimlib-imagex", Args: args, Stdout: io.Discard, Percent: fileData, Done: stage.Percent})
	stage.End(err)
	if err != nil {
		return nil, err
	}
	if err := placeAnswers(ctx, path, dir, answers); err != nil {
		return nil, err
	}
	return vhdx.OpenUnnamed(path)
}

// fileData is how wimlib says how far it is with what takes the time.
var fileData = regexp.MustCompile(`file data: .*\((\d+)%\)`)

// volumeNeed estimates what content takes on a volume, in bytes: clusters are not full, and NTFS
// keeps tables.
func volumeNeed(content int64) int64 { return content + content/16 + 32*mib }

// makeVolume makes an NTFS volume as Windows formats one: version 3.1, clusters of 4 KiB.
func makeVolume(ctx context.Context, path string, size int64) error {
	if err := makeSparse(path, size); err != nil {
		return err
	}
	return tool.Run(ctx, &tool.Command{Name: "mkntfs", Args: []string{"-q", "-Q", "-F", "-s", "512", "-c", "4096",
		"-p", fmt.Sprint(volumeStart / 512), "-H", "255", "-S", "63", "-L", "Windows", path}})
}

// frameApplied puts a disk around the volume, if a PC can start what was applied.
func frameApplied(f *vhdx.Raw) (*Disk, error) {
	d, err := frame(composed{{0, f.Size(), f, dataOf(f)}}, f.Size(), 512, f)
	if err != nil {
		return nil, err
	}
	switch _, err := bootfiles.ReadManagers(d.Reader, d.Size, int(d.SectorSize)); {
	case errors.Is(err, bootfiles.ErrMissing):
		return nil, fmt.Errorf("%w: %w", ErrNoWindows, err)
	case err != nil:
		return nil, err
	}
	return d, nil
}
