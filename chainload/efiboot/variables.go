package efiboot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/uuid"
	"github.com/u-root/u-root/pkg/efivarfs"
	"golang.org/x/sys/unix"
)

// ErrNotEFI says that the machine was not started by UEFI firmware, or that
// the kernel was not given access to its variables.
var ErrNotEFI = errors.New("efiboot: this machine was not started by UEFI firmware")

// Variables are EFI variables of the namespace EFI_GLOBAL_VARIABLE, by name.
// Get returns an error that wraps fs.ErrNotExist for a variable that is not
// there. Set without data removes a variable, as the firmware's SetVariable does.
type Variables interface {
	Get(name string) (attributes uint32, data []byte, err error)
	Set(name string, attributes uint32, data []byte) error
	List() (names []string, err error)
}

// globalVariable is the namespace of the variables that UEFI itself defines.
const globalVariable = "8be4df61-93ca-11d2-aa0d-00e098032b8c"

const (
	firmwareDir = "/sys/firmware/efi"
	varsDir     = firmwareDir + "/efivars"
)

// OpenVariables returns the variables of this machine and mounts efivarfs if
// it is not mounted (the module efivarfs must be loaded). The error wraps ErrNotEFI
// where there is no UEFI firmware.
func OpenVariables() (Variables, error) {
	if _, err := os.Stat(firmwareDir); errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotEFI
	}
	v, err := efivarfs.NewPath(varsDir)
	if errors.Is(err, efivarfs.ErrNoFS) {
		if err := mountVariables(); err != nil {
			return nil, err
		}
		v, err = efivarfs.NewPath(varsDir)
	}
	if err != nil {
		return nil, fmt.Errorf("efiboot: %w", err)
	}
	return newVariables(v), nil
}

func mountVariables() error {
	err := unix.Mount("efivarfs", varsDir, "efivarfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	switch {
	case errors.Is(err, unix.ENODEV):
		return errors.New("efiboot: the kernel has no efivarfs: load the module efivarfs")
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP):
		// The directory is missing when the firmware or the kernel (efi=noruntime) has runtime
		// services off.
		return fmt.Errorf("%w with runtime variables: mount efivarfs: %w", ErrNotEFI, err)
	case err != nil && !errors.Is(err, unix.EBUSY):
		return fmt.Errorf("efiboot: mount efivarfs: %w", err)
	}
	return nil
}

// newVariables makes Variables of u-root's view of EFI variables.
func newVariables(v efivarfs.EFIVar) Variables { return &variables{efi: v} }

type variables struct{ efi efivarfs.EFIVar }

func descriptor(name string) efivarfs.VariableDescriptor {
	return efivarfs.VariableDescriptor{Name: name, GUID: uuid.MustParse(globalVariable)}
}

func (v *variables) Get(name string) (uint32, []byte, error) {
	attributes, data, err := v.efi.Get(descriptor(name))
	if err != nil {
		return 0, nil, fmt.Errorf("efiboot: read %s: %w", name, err)
	}
	return uint32(attributes), data, nil
}

func (v *variables) Set(name string, attributes uint32, data []byte) error {
	if len(data) == 0 {
		if err := v.efi.Remove(descriptor(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("efiboot: remove %s: %w", name, err)
		}
		return nil
	}
	if err := v.efi.Set(descriptor(name), efivarfs.VariableAttributes(attributes), data); err != nil {
		return fmt.Errorf("efiboot: write %s: %w", name, err)
	}
	return nil
}

func (v *variables) List() ([]string, error) {
	all, err := v.efi.List()
	if err != nil {
		return nil, fmt.Errorf("efiboot: list variables: %w", err)
	}
	var names []string
	for _, d := range all {
		if d.GUID.String() == globalVariable {
			names = append(names, d.Name)
		}
	}
	return names, nil
}
