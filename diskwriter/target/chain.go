package target

import (
	"fmt"
	"strings"

	"troy/diskwriter"
	"troy/vhdx"
)

// Chain reads what Windows would see on the machine: the session in the boot child over the version it sits on. Logs are
// replayed in memory. Errors: diskwriter.ErrChain, and those of package vhdx.
func Chain(f diskwriter.Files) (*vhdx.Chain, error) {
	leaf, err := vhdx.NewFile(f.Boot.Storage, f.Boot.Size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", diskwriter.BootName, err)
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

// Parent returns which of the files a child names as its parent. Error: diskwriter.ErrChain.
func Parent(f diskwriter.Files, child *vhdx.File) (string, diskwriter.File, error) {
	path := ""
	if l := child.Metadata().ParentLocator; l != nil {
		path, _ = l.Get(vhdx.KeyRelativePath)
	}
	name := strings.ToLower(path[strings.LastIndexByte(path, '\\')+1:])
	for known, file := range map[string]diskwriter.File{
		diskwriter.BaseName: f.Base, diskwriter.LayerAName: f.LayerA, diskwriter.LayerBName: f.LayerB,
	} {
		if name == known {
			return name, file, nil
		}
	}
	return "", diskwriter.File{}, fmt.Errorf("%w: a child names %q as its parent", diskwriter.ErrChain, path)
}
