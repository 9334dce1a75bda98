package prepare

import (
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"troy/chainload/release"
	"troy/initramfs"
	"troy/internal/errline"
	"troy/trial/inside"
	"troy/trial/vm"
)

// job is what the guest has to do: a file of its initramfs.
type job struct {
	Start int64             // of the volume on the disk, in bytes
	Files map[string]string // path in the volume, file of the initramfs
	Order *inside.Order     // what the two files of the trial are made by; nil: none is made
}

// jobFile is where the guest finds its job.
const jobFile = "/trial/job.json"

// What the guest says at its end.
const (
	guestDone   = "trial: done"
	guestFailed = "trial: failed: "
)

// guestLimit is how long the guest may run. It needs seconds.
const guestLimit = 10 * time.Minute

// runGuest has a small Linux write files to the volume.
func runGuest(ctx context.Context, o *Options, disk string, sector int, j *job, files map[string][]byte) (err error) {
	dir, err := os.MkdirTemp(o.Dir, guestFolder)
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, os.RemoveAll(dir)) }()
	kernel, initrd := filepath.Join(dir, release.Kernel), filepath.Join(dir, release.Initrd)
	if err := pack(initrd, o, j, files); err != nil {
		return err
	}
	code, err := o.Bundle.Read(release.Kernel)
	if err != nil {
		return err
	}
	if err := os.WriteFile(kernel, code, 0o600); err != nil {
		return err
	}
	pc, err := vm.Start(ctx, &vm.Config{Name: "prepare", Dir: dir, Kernel: kernel, Initrd: initrd, Cmdline: "console=ttyS0 quiet panic=-1",
		Disks: []vm.Disk{{Path: disk, SectorSize: sector}}, NoReboot: true, Timeout: guestLimit})
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, pc.Close()) }()
	said, err := pc.Expect(ctx, "("+guestDone+"|"+guestFailed+`.*)\r?\n`)
	if err != nil {
		return err
	}
	if _, why, failed := strings.Cut(said, guestFailed); failed {
		return fmt.Errorf("writing to the copy of the disk: %s", why)
	}
	return pc.Wait(ctx)
}

// pack makes the guest's initramfs: that of the bundle, with its drivers and ntfs-3g, and behind it
// this program as init, and what it has to do.
func pack(out string, o *Options, j *job, files map[string][]byte) error {
	init, err := readStatic(o.Self)
	if err != nil {
		return err
	}
	list := []initramfs.File{{Name: "init", Data: init, Mode: 0o755}}
	with := *j
	with.Files = map[string]string{}
	for i, name := range slices.Sorted(maps.Keys(files)) {
		here := fmt.Sprintf("trial/%d", i)
		with.Files[name] = "/" + here
		list = append(list, initramfs.File{Name: here, Data: files[name]})
	}
	text, err := json.Marshal(&with)
	if err != nil {
		return err
	}
	list = append(list, initramfs.File{Name: jobFile[1:], Data: text})
	base, err := o.Bundle.Read(release.Initrd)
	if err != nil {
		return err
	}
	if err := initramfs.Pack(out, list); err != nil {
		return err
	}
	own, err := os.ReadFile(filepath.Clean(out))
	if err != nil {
		return err
	}
	base = append(base, make([]byte, -len(base)&3)...) // each archive begins at a multiple of four bytes
	return os.WriteFile(out, append(base, own...), 0o600)
}

// readStatic reads a program that needs no libraries; "": the running one.
func readStatic(path string) ([]byte, error) {
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("%s was built with cgo: build it with CGO_ENABLED=0, so that it runs alone in a virtual PC", path)
		}
	}
	return os.ReadFile(path)
}
