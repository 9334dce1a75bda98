package vmlab

import (
	"os"

	"troy/trial/vm"
)

// NewVars makes a file of a firmware's variables for [vm.Config].Vars, as they are at first.
func NewVars(path string, f *vm.Firmware) error {
	b, err := os.ReadFile(f.Vars)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}
