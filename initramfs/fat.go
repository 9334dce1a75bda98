package initramfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strconv"
)

// ErrNoMtools says that the programs that write FAT volumes are not installed.
var ErrNoMtools = errors.New("mtools are not installed (Debian package mtools)")

// fixedTime is 1980-01-01, the first time that FAT knows, for every file.
const fixedTime = "315532800"

// volume is a FAT volume inside an image file. mtools write it because what
// they write is clean under fsck.fat; go-diskfs 1.9 leaves a wrong ".." entry
// and no count of free clusters.
type volume struct {
	image  string
	offset int64 // bytes
	size   int64 // bytes
	label  string
	serial uint32
	fat16  bool // FAT16 in place of FAT32: for small ones
}

func (v *volume) write(ctx context.Context, files []File) error {
	perCluster := 1
	for v.size/sectorSize/int64(perCluster*2) >= 70000 && perCluster < 8 {
		perCluster *= 2
	}
	kind := []string{"mformat", "-F", "-c", strconv.Itoa(perCluster)}
	if v.fat16 {
		kind = []string{"mformat", "-c", "4"}
	}
	err := v.run(ctx, nil, kind[0], append(kind[1:], "-v", v.label, "-N", fmt.Sprintf("%08x", v.serial), "-h", "255", "-s", "63",
		"-H", strconv.FormatInt(v.offset/sectorSize, 10), "-T", strconv.FormatInt(v.size/sectorSize, 10), "::")...)
	if err != nil {
		return err
	}
	for _, dir := range parents(files) {
		if err := v.run(ctx, nil, "mmd", "::/"+dir); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := v.run(ctx, f.Data, "mcopy", "-", "::/"+path.Clean(f.Name)); err != nil {
			return err
		}
	}
	return nil
}

// run runs one of the mtools on the volume, with input as its standard input.
func (v *volume) run(ctx context.Context, input []byte, tool string, args ...string) error {
	args = append([]string{"-i", fmt.Sprintf("%s@@%d", v.image, v.offset)}, args...)
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Stdin = bytes.NewReader(input)
	// Nothing of the user's own settings may decide what is written.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "MTOOLSRC=/dev/null", "SOURCE_DATE_EPOCH=" + fixedTime}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return ErrNoMtools
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", tool, err, bytes.TrimSpace(out))
	}
	return nil
}
