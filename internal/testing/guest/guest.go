// Package guest makes initramfs images whose init is a Go program of the tests, for whatever has to
// happen inside of a machine.
package guest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"troy/initramfs"
	"troy/initramfs/kmod"
)

// Options say what a guest is made of. Program, Modules and Out are required.
type Options struct {
	Program string   // import path of the program that is init
	Modules string   // a kernel's lib/modules/VERSION folder
	Drivers []string // modules to carry, with all that they depend on
	Out     string   // the initramfs to write
}

// Build builds one. The modules lie as /modules/NN-NAME.ko, in the order in which they have to be
// loaded. The go command must be in PATH, the working directory inside of the Go module.
func Build(ctx context.Context, o *Options) error {
	tmp, err := os.MkdirTemp("", "troy-guest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	program := filepath.Join(tmp, "init")
	if err := initramfs.Compile(ctx, o.Program, program, ""); err != nil {
		return err
	}
	code, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	files := []initramfs.File{{Name: "init", Data: code, Mode: 0o755}}
	index, err := kmod.Open(o.Modules)
	if err != nil {
		return err
	}
	modules, err := index.Closure(o.Drivers...)
	if err != nil {
		return err
	}
	for i, m := range modules {
		files = append(files, initramfs.File{Name: fmt.Sprintf("modules/%02d-%s.ko", i, m.Name), Data: m.Data})
	}
	return initramfs.Pack(o.Out, files)
}
