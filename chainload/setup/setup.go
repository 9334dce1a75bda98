// Package setup tells whether the setup of a Windows has run to its end: after it was applied from
// an installation medium, or generalised by sysprep, the first starts of Windows go through
// specialise and the first questions (or audit mode), with restarts in between.
//
// The registry hive SYSTEM says it: setup is over when SystemSetupInProgress and OOBEInProgress in
// its key Setup are 0 or absent. A hive that was not closed in order is believed only where it says
// that setup runs: its logs may hold newer values, which are not read.
package setup

import (
	"errors"
	"fmt"
	"io"

	"troy/chainload/regf"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
)

var (
	// ErrNoWindows: the disk holds no Windows, or none that can be told from others.
	ErrNoWindows = errors.New("no Windows with a registry was found")
	// ErrUnclosed: the hive was not closed in order.
	ErrUnclosed = errors.New("the registry hive SYSTEM was not closed in order")
)

const (
	hivePath = `\Windows\System32\config\SYSTEM`
	keyPath  = "Setup"
)

// flags are the values that are not 0 while setup runs.
var flags = []string{"SystemSetupInProgress", "OOBEInProgress"}

// Pending tells whether setup still has to run, or runs, in the Windows on a virtual disk of size
// bytes with sectors of that size. Errors: ErrNoWindows, ErrUnclosed, those of packages regf and
// ntfs, and those of reading.
func Pending(disk io.ReaderAt, size int64, sectorSize int) (bool, error) {
	v, err := pcdisk.WindowsVolume(disk, size, sectorSize)
	if err != nil {
		return false, err
	}
	if v == nil {
		return false, ErrNoWindows
	}
	f, err := v.OpenFile(hivePath)
	switch {
	case errors.Is(err, ntfs.ErrNotExist):
		return false, ErrNoWindows
	case err != nil:
		return false, err
	}
	hive, err := regf.NewReader(f, f.Size())
	if err != nil {
		return false, fmt.Errorf("%s: %w", hivePath, err)
	}
	return PendingIn(hive)
}

// PendingIn is Pending for the hive SYSTEM of a Windows. Errors: ErrUnclosed, those of package
// regf.
func PendingIn(hive *regf.Reader) (bool, error) {
	for _, name := range flags {
		v, err := hive.Value(keyPath, name)
		switch {
		case errors.Is(err, regf.ErrNotFound):
			continue
		case err != nil:
			return false, fmt.Errorf("%s: %w", hivePath, err)
		}
		n, ok := v.Number()
		if !ok {
			return false, fmt.Errorf("%s: %w: %s is no number", hivePath, regf.ErrCorrupt, name)
		}
		if n != 0 {
			return true, nil
		}
	}
	if hive.Dirty() {
		return false, ErrUnclosed
	}
	return false, nil
}
