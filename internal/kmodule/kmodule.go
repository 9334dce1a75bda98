// Package kmodule loads a kernel module that lies in a file, as it is: Linux gets the file and
// nothing is unpacked here.
package kmodule

import (
	"os"

	"golang.org/x/sys/unix"
)

// Load loads the module in the file, without parameters, by finit_module(2). Of one that is loaded
// already the error is unix.EEXIST.
func Load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}
