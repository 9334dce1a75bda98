package pcdisk

import (
	"fmt"
	"strings"

	"troy/diskwriter/machine"
	"troy/vhdx"
)

// Chain reads what Windows would see on the machine: the session in the boot child over the version
// it sits on. Logs are replayed in memory. Errors: machine.ErrChain, and those of package vhdx.
func Chain(f machine.Files) (*vhdx.Chain, error) {
	leaf, err := vhdx.NewFile(f.Boot.Storage, f.Boot.Size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", machine.BootName, err)
	}
	return vhdx.ResolveChain(leaf, func(child *vhdx.File) (*vhdx.File, error) {
		name, file, err := Parent(f, child)
		if err != nil {
			return nil, err
		}
		parent, err := vhdx.NewFile(file.Storage, file.Size)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return parent, nil
	})
}

// Parent returns which of the files a child names as its parent. Error: machine.ErrChain.
func Parent(f machine.Files, child *vhdx.File) (string, machine.File, error) {
	name := strings.ToLower(child.ParentName())
	for known, file := range map[string]machine.File{
		machine.BaseName: f.Base, machine.LayerAName: f.LayerA, machine.LayerBName: f.LayerB,
	} {
		if name == known {
			return name, file, nil
		}
	}
	return "", machine.File{}, fmt.Errorf("%w: a child names %q as its parent", machine.ErrChain, name)
}
