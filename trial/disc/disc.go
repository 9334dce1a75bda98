package disc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"

	"troy/internal/durable"
	"troy/internal/errline"
	"troy/trial/inside"
)

// Label is the name of the disc.
const Label = "TROYTRIAL"

// ErrProgram: what is to go onto the disc is no program of Windows.
var ErrProgram = errors.New("not a program of Windows")

// script is run by the first logon, from whatever drive the disc is in.
const script = "@echo off\r\n" +
	"rem The first logon of a trial of Troy: the program becomes a service, then does what\r\n" +
	"rem " + inside.OrderFile + " on this disc says.\r\n" +
	`"%~dp0` + inside.ProgramFile + `" up --install` + "\r\n"

// Make makes the disc for one start at path out. Program is the path of troy-gates.exe.
func Make(out string, o *inside.Order, program string) error {
	order, err := o.Encode()
	if err != nil {
		return err
	}
	exe, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	if len(exe) < 2 || string(exe[:2]) != "MZ" {
		return fmt.Errorf("%s: %w", program, ErrProgram)
	}
	f, err := durable.Create(out, 0o644)
	if err != nil {
		return err
	}
	defer f.Abandon()
	if err := write(f.File, map[string][]byte{inside.OrderFile: order, inside.ProgramFile: exe, inside.ScriptFile: []byte(script)}); err != nil {
		return fmt.Errorf("%s: %w", out, err)
	}
	return f.Commit()
}

// write fills a file with a file system that holds some files. The library collects them in a
// folder, which is not left behind.
func write(f *os.File, files map[string][]byte) (err error) {
	folder, err := os.MkdirTemp(filepath.Dir(f.Name()), ".disc-")
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, os.RemoveAll(folder)) }()
	fs, err := iso9660.Create(file.New(f, false), 0, 0, 0, folder)
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := add(fs, name, content); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return fs.Finalize(iso9660.FinalizeOptions{VolumeIdentifier: Label})
}

func add(fs *iso9660.FileSystem, name string, content []byte) error {
	f, err := fs.OpenFile("/"+name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	w, ok := f.(io.Writer)
	if !ok {
		return errline.Join(errors.New("cannot be written"), f.Close())
	}
	_, err = w.Write(content)
	return errline.Join(err, f.Close())
}
