package testlab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/internal/guid"
)

// Holds checks that what Windows on this PC would see equals the raw image, byte for byte. Only
// programs that are not Troy's read the disk: ntfscat and 7zz. It returns which files 7zz needed:
// the chain, leaf first.
func (p *PC) Holds(ctx context.Context, raw string) (chain []string, err error) {
	volume := filepath.Join(p.lab.o.Dir, p.name+".volume")
	defer os.Remove(volume)
	if err := CutVolume(ctx, p.Disk, volume); err != nil {
		return nil, err
	}
	if err := run(ctx, "ntfsfix", "-n", volume); err != nil {
		return nil, err
	}
	return VolumeHolds(ctx, volume, raw)
}

// VolumeHolds is PC.Holds for the NTFS volume in a file of its own.
func VolumeHolds(ctx context.Context, volume, raw string) (chain []string, err error) {
	dir, err := os.MkdirTemp(filepath.Dir(volume), "files-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := extract(ctx, volume, dir); err != nil {
		return nil, err
	}
	chain = []string{machine.BootName}
	for _, without := range []string{machine.LayerAName, machine.LayerBName, machine.BaseName} {
		needed, err := needs(ctx, dir, without)
		if err != nil {
			return nil, err
		}
		if needed {
			chain = append(chain, without)
		}
	}
	return chain, compareFlat(ctx, filepath.Join(dir, machine.BootName), raw)
}

// extract takes the VHDX files out of the NTFS volume.
func extract(ctx context.Context, volume, dir string) error {
	for _, name := range []string{machine.BaseName, machine.LayerAName, machine.LayerBName, machine.BootName} {
		// cp makes holes of zeros: the files are large and mostly empty.
		script := `set -o pipefail; ntfscat -f "$1" "Troy/$2" | cp --sparse=always /dev/stdin "$3"`
		if err := run(ctx, "bash", "-c", script, "-", volume, name, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// CutVolume copies the NTFS volume of the disk image at disk into a sparse file of its own.
func CutVolume(ctx context.Context, disk, volume string) error {
	return cutFirst(ctx, disk, volume, blockdev.TypeBasicData)
}

// cutFirst copies the first partition of a type into a sparse file of its own.
func cutFirst(ctx context.Context, disk, file string, of guid.GUID) error {
	dev, err := blockdev.Open(disk, &blockdev.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer dev.Close()
	table, err := dev.ReadTable()
	if err != nil {
		return err
	}
	parts := table.ByType(of)
	if len(parts) == 0 {
		return fmt.Errorf("%s has no partition of type %s", disk, of)
	}
	return Cut(ctx, disk, file, parts[0])
}

// Cut copies a partition, which begins and ends on a whole MiB, into a sparse file of its own.
func Cut(ctx context.Context, disk, file string, part blockdev.Entry) error {
	const mib = 1 << 20
	return run(ctx, "dd", "if="+disk, "of="+file, "bs=1M", "skip="+strconv.FormatInt(part.Start/mib, 10),
		"count="+strconv.FormatInt(part.Size/mib, 10), "conv=sparse", "status=none")
}

// needs says whether 7zz cannot read the boot child when the file called name is missing.
func needs(ctx context.Context, dir, name string) (bool, error) {
	path := filepath.Join(dir, name)
	if err := os.Rename(path, path+".away"); err != nil {
		return false, err
	}
	err := exec.CommandContext(ctx, "7zz", "l", "-tvhdx", filepath.Join(dir, machine.BootName)).Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return false, err
	}
	return err != nil, os.Rename(path+".away", path)
}

// compareFlat flattens the chain with 7zz and compares it with a raw image while it comes.
func compareFlat(ctx context.Context, leaf, raw string) error {
	want, err := os.Open(raw)
	if err != nil {
		return err
	}
	defer want.Close()
	cmd := exec.CommandContext(ctx, "7zz", "x", "-so", "-tvhdx", leaf)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	have, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	diff := compare(bufio.NewReaderSize(have, 1<<20), bufio.NewReaderSize(want, 1<<20))
	io.Copy(io.Discard, have) // or 7zz waits for ever on a full pipe
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("7zz: %w: %s", err, errs.Bytes())
	}
	return diff
}

// compare returns nil when both readers give the same bytes.
func compare(have, want io.Reader) error {
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); ; off += int64(len(a)) {
		n, errA := io.ReadFull(have, a)
		m, errB := io.ReadFull(want, b)
		if !bytes.Equal(a[:n], b[:m]) {
			return fmt.Errorf("the disk that Windows would see differs from the version between bytes %d and %d (or in size)", off, off+int64(max(n, m)))
		}
		if errA != nil || errB != nil {
			return nil // equal so far and equally long
		}
	}
}
