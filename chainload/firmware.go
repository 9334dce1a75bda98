package chainload

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"troy/chainload/efiboot"
)

// FirmwareKind is how the machine was started.
type FirmwareKind string

// Kinds of firmware.
const (
	UEFI FirmwareKind = "uefi"
	BIOS FirmwareKind = "bios" // or UEFI firmware in its compatibility mode (CSM)
)

// ErrBIOS says that the machine cannot run Windows 11 as it was started. It
// wraps ErrNotEFI.
var ErrBIOS = fmt.Errorf("%w: Windows 11 needs UEFI, and this machine was started by a BIOS or in BIOS mode (CSM); no disk was touched; switch the firmware to UEFI", ErrNotEFI)

// FirmwareInfo is what check-in tells of the firmware.
type FirmwareInfo struct {
	Kind       FirmwareKind `json:"kind"`
	SecureBoot bool         `json:"secureBoot"` // enforced
	SetupMode  bool         `json:"setupMode"`  // no platform key: anybody may enrol keys
}

// Supported returns ErrBIOS for a machine that has to be left alone.
func (f FirmwareInfo) Supported() error {
	if f.Kind == BIOS {
		return ErrBIOS
	}
	return nil
}

// Firmware says how this machine was started. The error, for a machine with
// UEFI whose variables cannot be read, leaves Kind right and the rest false.
func Firmware() (FirmwareInfo, error) {
	return firmwareAt("/sys/firmware/efi", efiboot.OpenVariables)
}

func firmwareAt(dir string, open func() (efiboot.Variables, error)) (FirmwareInfo, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return FirmwareInfo{Kind: BIOS}, nil
	}
	f := FirmwareInfo{Kind: UEFI}
	v, err := open()
	if err != nil {
		return f, fmt.Errorf("%w: %w", ErrFirmware, err)
	}
	f.SecureBoot, err = flag(v, "SecureBoot")
	if err != nil {
		return f, err
	}
	f.SetupMode, err = flag(v, "SetupMode")
	return f, err
}

// flag reads a variable of one byte; firmware that lacks it lacks the feature.
func flag(v efiboot.Variables, name string) (bool, error) {
	_, data, err := v.Get(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("%w: %w", ErrFirmware, err)
	case len(data) != 1:
		return false, fmt.Errorf("%w: %s has %d bytes", ErrFirmware, name, len(data))
	}
	return data[0] == 1, nil
}
