package vm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Firmware is a build of OVMF.
type Firmware struct {
	Code string // read only
	Vars string // what the variables are at first; each VM gets a copy
	// Secure says that Secure Boot is enforced: the variables hold Microsoft's keys, and
	// only code in system management mode can write to them.
	Secure bool
}

// ErrNoFirmware says that no OVMF was found.
var ErrNoFirmware = errors.New("no UEFI firmware for QEMU found (Debian package ovmf)")

// FindFirmware finds an OVMF without Secure Boot where distributions install it.
func FindFirmware() (*Firmware, error) {
	return findFirmware("/", plainFirmware())
}

// FindSecureFirmware finds an OVMF that enforces Secure Boot with Microsoft's keys.
func FindSecureFirmware() (*Firmware, error) {
	return findFirmware("/", secureFirmware())
}

func plainFirmware() []Firmware {
	return []Firmware{
		{Code: "usr/share/OVMF/OVMF_CODE_4M.fd", Vars: "usr/share/OVMF/OVMF_VARS_4M.fd"},                 // Debian, Ubuntu
		{Code: "usr/share/edk2/ovmf/OVMF_CODE.fd", Vars: "usr/share/edk2/ovmf/OVMF_VARS.fd"},             // Fedora
		{Code: "usr/share/edk2/x64/OVMF_CODE.4m.fd", Vars: "usr/share/edk2/x64/OVMF_VARS.4m.fd"},         // Arch
		{Code: "usr/share/qemu/ovmf-x86_64-4m-code.bin", Vars: "usr/share/qemu/ovmf-x86_64-4m-vars.bin"}, // openSUSE
		{Code: "usr/share/OVMF/OVMF_CODE.fd", Vars: "usr/share/OVMF/OVMF_VARS.fd"},                       // older Debian
	}
}

func secureFirmware() []Firmware {
	return []Firmware{
		{Code: "usr/share/OVMF/OVMF_CODE_4M.secboot.fd", Vars: "usr/share/OVMF/OVMF_VARS_4M.ms.fd", Secure: true},              // Debian, Ubuntu
		{Code: "usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", Vars: "usr/share/edk2/ovmf/OVMF_VARS.secboot.fd", Secure: true},     // Fedora
		{Code: "usr/share/qemu/ovmf-x86_64-smm-ms-code.bin", Vars: "usr/share/qemu/ovmf-x86_64-smm-ms-vars.bin", Secure: true}, // openSUSE
	}
}

func findFirmware(root string, known []Firmware) (*Firmware, error) {
	for _, f := range known {
		f.Code, f.Vars = filepath.Join(root, f.Code), filepath.Join(root, f.Vars)
		if exists(f.Code) && exists(f.Vars) {
			return &f, nil
		}
	}
	return nil, ErrNoFirmware
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// prepareVars returns the file of the variables for one VM and makes it if need be.
func (c *Config) prepareVars() (string, error) {
	if c.Firmware == nil {
		return "", nil
	}
	if c.Vars != "" && exists(c.Vars) {
		return c.Vars, nil
	}
	path := orDefault(c.Vars, filepath.Join(c.Dir, c.name()+".vars.fd"))
	return path, copyFile(path, c.Firmware.Vars)
}

func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("firmware variables: %w", err)
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("firmware variables: %w", err)
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}
