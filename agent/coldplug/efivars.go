package coldplug

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// efiVars is where the firmware's variables are mounted.
const efiVars = "/sys/firmware/efi/efivars"

// ErrNoEFI says that the machine was not started by UEFI firmware.
var ErrNoEFI = errors.New("not started by UEFI firmware")

// MountEFIVars mounts efivarfs at /sys/firmware/efi/efivars. u-root's init tries it too, but
// before the module is loaded. A mount that is there already will do.
func MountEFIVars() error {
	if _, err := os.Stat(efiVars); errors.Is(err, fs.ErrNotExist) {
		return ErrNoEFI
	}
	err := unix.Mount("efivarfs", efiVars, "efivarfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mounting the firmware's variables: %w", err)
	}
	return nil
}
