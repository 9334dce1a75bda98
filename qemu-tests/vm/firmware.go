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
}

// ErrNoFirmware says that no OVMF was found.
var ErrNoFirmware = errors.New("no UEFI firmware for QEMU found (Debian package ovmf)")

// FindFirmware finds an OVMF without Secure Boot where distributions install it.
func FindFirmware() (*Firmware, error) {
	return findFirmware("/")
}

func findFirmware(root string) (*Firmware, error) {
	for _, f := range []Firmware{
		{"usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd"},                 // Debian, Ubuntu
		{"usr/share/edk2/ovmf/OVMF_CODE.fd", "usr/share/edk2/ovmf/OVMF_VARS.fd"},             // Fedora
		{"usr/share/edk2/x64/OVMF_CODE.4m.fd", "usr/share/edk2/x64/OVMF_VARS.4m.fd"},         // Arch
		{"usr/share/qemu/ovmf-x86_64-4m-code.bin", "usr/share/qemu/ovmf-x86_64-4m-vars.bin"}, // openSUSE
		{"usr/share/OVMF/OVMF_CODE.fd", "usr/share/OVMF/OVMF_VARS.fd"},                       // older Debian
	} {
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
