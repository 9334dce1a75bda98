//go:build !windows

package winpc

import (
	"fmt"
	"runtime"

	"troy/gates"
	"troy/gates/testdisk"
)

// Disks is the virtual disk API.
type Disks struct{}

func lacks() error {
	return fmt.Errorf("%w: virtdisk.dll is part of Windows, and this is %s", testdisk.ErrNoAPI, runtime.GOOS)
}

// Attach implements testdisk.API.
func (Disks) Attach(string, bool) (testdisk.Attached, error) { return nil, lacks() }

// Merge implements testdisk.API.
func (Disks) Merge(string) error { return lacks() }

// Size implements testdisk.API.
func (Disks) Size(string) (int64, error) { return 0, lacks() }

// Elevated reports whether the program may attach disks.
func Elevated() bool { return true }

// Look tells what PC this is, and the names that no result may say.
func Look() (pc gates.PC, names []string) { return gates.PC{}, nil }
