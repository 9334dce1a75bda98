// Package inside is for the programs that package guest makes to init: what each of them needs in
// the machine.
package inside

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"troy/internal/kmodule"
)

// LoadModules loads the drivers that guest.Build put into /modules, in the order of their names.
// One that is loaded already is no error.
//
// It says a line first: package vm takes a machine that says nothing for one that hangs.
func LoadModules() error {
	fmt.Println("guest: init runs")
	paths, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := kmodule.Load(path); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// PowerOff switches the machine off once the console has said everything. It does not return: the
// end of process 1 would be a kernel panic.
func PowerOff() { end("power off", unix.LINUX_REBOOT_CMD_POWER_OFF) }

// Restart resets the machine, as PowerOff switches it off.
func Restart() { end("restart", unix.LINUX_REBOOT_CMD_RESTART) }

func end(what string, command int) {
	_ = unix.IoctlSetInt(1, unix.TCSBRK, 1)
	unix.Sync()
	if err := unix.Reboot(command); err != nil {
		fmt.Println(what+":", err)
	}
	select {}
}
