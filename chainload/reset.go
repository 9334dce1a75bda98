package chainload

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Reset writes all file systems out and resets the machine (reboot(2),
// LINUX_REBOOT_CMD_RESTART). It returns only when that failed; it needs
// CAP_SYS_BOOT.
func Reset() error {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		return fmt.Errorf("chainload: reset: %w", err)
	}
	return nil
}
