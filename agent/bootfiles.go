package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"troy/agent/decide"
	"troy/chainload/bootfiles"
	"troy/chainload/secureboot"
	"troy/diskwriter/blockdev"
	"troy/image"
	"troy/internal/digest"
	"troy/internal/errline"
)

// efiVariables is where the kernel shows those of the firmware.
const efiVariables = "/sys/firmware/efi/efivars"

// bootFiles keeps those of Windows on the ESP as the version that starts needs them.
type bootFiles struct {
	con      *console
	disk     *disk
	rec      *records
	vars     fs.FS // of the firmware
	firmware *secureboot.Firmware
	unread   error          // why the firmware is not known
	set      *bootfiles.Set // of the version that a disk is being made for; nil: it is read from the disk
	carried  bool           // its boot manager comes from the ESP that is erased

	onESP func(do func(root string, writable func() error) error) error // mounts the ESP
}

func newBootFiles(con *console, d *disk, rec *records) *bootFiles {
	b := &bootFiles{con: con, disk: d, rec: rec, vars: os.DirFS(efiVariables), firmware: &secureboot.Firmware{}}
	b.onESP = b.mounted
	return b
}

// mounted runs do with the ESP of the machine mounted.
func (b *bootFiles) mounted(do func(root string, writable func() error) error) error {
	t := b.disk.target
	return bootfiles.Mounted(partitionPath(t.Device.Path(), t.ESP.Number), do)
}

// readFirmware finds out which programs this machine starts.
func (b *bootFiles) readFirmware() {
	if b.firmware, b.unread = secureboot.Read(b.vars); b.unread != nil {
		b.con.say("firmware: %v", b.unread)
	}
}

// load takes the boot files out of a version before the disk at path is made for it, and looks
// whether an ESP on that disk has a newer boot manager.
func (b *bootFiles) load(ctx context.Context, src image.Source, name string, version int, path string) error {
	v, err := image.OpenVersion(ctx, src, name, version)
	if err != nil {
		return err
	}
	set, err := b.read(v, v.Size(), int(v.Manifest().SectorSize))
	if err != nil {
		return err
	}
	if set, b.carried, err = b.carry(set, path); err != nil {
		b.con.say("boot files: the ESP that will be erased cannot be read: %v", err)
	}
	b.set = set
	return set.Starts()
}

func (b *bootFiles) read(disk io.ReaderAt, size int64, sector int) (*bootfiles.Set, error) {
	if b.unread != nil {
		return nil, b.unread
	}
	return bootfiles.Load(disk, size, sector, b.firmware)
}

// carry takes the newest boot manager of the ESPs on a disk along.
func (b *bootFiles) carry(set *bootfiles.Set, path string) (_ *bootfiles.Set, carried bool, err error) {
	for _, number := range oldESPs(path) {
		merr := bootfiles.Mounted(partitionPath(path, number), func(root string, _ func() error) error {
			next, yes, err := set.Carry(root)
			if yes {
				set, carried = next, true
				b.con.say("boot files: the boot manager on partition %d (%s) is newer than that of the version, or the only one that starts here: it is kept", number, set.Manager().Version)
			}
			return err
		})
		err = errline.Join(err, merr)
	}
	return set, carried, err
}

// oldESPs are the numbers of the ESPs on a disk that is going to be erased; what has no table has
// none.
func oldESPs(path string) (all []int) {
	dev, err := blockdev.Open(path, &blockdev.Options{ReadOnly: true})
	if err != nil {
		return nil
	}
	defer dev.Close()
	table, err := dev.ReadTable()
	if err != nil {
		return nil
	}
	for _, e := range table.ByType(blockdev.TypeESP) {
		all = append(all, e.Number)
	}
	return all
}

// stash leaves a boot manager that was carried along on the new ESP: the power may fail before the
// version is written.
func (b *bootFiles) stash() error {
	if b.set == nil || !b.carried {
		return nil
	}
	return b.onESP(func(root string, writable func() error) error {
		if err := writable(); err != nil {
			return err
		}
		return b.set.Stash(root)
	})
}

// follow sees to it that the ESP has what the version on the disk needs. It is no reason to stop:
// the boot manager that is there has started Windows before.
func (b *bootFiles) follow(ctx context.Context) error {
	s := b.disk.machine.State()
	chain, err := b.disk.machine.Content()
	if err == nil {
		err = b.onESP(func(root string, writable func() error) error {
			name := decide.Name(s.Image, s.Version, s.Manifest)
			state, err := bootfiles.State(root)
			if err != nil || b.rec.BootFiles.Holds(name, b.firmware.Digest, state) {
				return err
			}
			return b.bring(ctx, root, writable, name, func() (*bootfiles.Set, error) { return b.read(chain, chain.Size(), int(s.LogicalSectorSize)) })
		})
	}
	return b.kept(err)
}

// put brings the boot files of a version that was just written as a whole.
func (b *bootFiles) put(ctx context.Context, name string, disk io.ReaderAt, size int64, sector int) error {
	err := b.onESP(func(root string, writable func() error) error {
		return b.bring(ctx, root, writable, name, func() (*bootfiles.Set, error) {
			if b.set != nil {
				return b.set, nil
			}
			return b.read(disk, size, sector)
		})
	})
	if err != nil && b.set != nil { // the ESP of a disk that was just made is empty
		return fmt.Errorf("boot files: %w", err)
	}
	_ = b.kept(err)
	return nil
}

// kept says that what is on the ESP stays.
func (b *bootFiles) kept(err error) error {
	if err != nil {
		b.con.say("boot files: %v; keeping the boot files on the ESP", err)
	}
	return err
}

// bring compares a set with the ESP, writes what differs, and notes how the ESP is then. An image
// without boot files leaves what is there; whether that will do, the hand-off finds out.
func (b *bootFiles) bring(ctx context.Context, root string, writable func() error, version string, load func() (*bootfiles.Set, error)) error {
	set, err := load()
	switch {
	case errors.Is(err, bootfiles.ErrMissing):
		_ = b.kept(err)
	case err != nil:
		return err
	default:
		if err := b.install(ctx, set, root, writable, version); err != nil {
			return err
		}
	}
	n := &b.rec.BootFiles // Count writes it; without it the next start compares again
	n.Version, n.Firmware = version, b.firmware.Digest
	n.ESP, err = bootfiles.State(root)
	return err
}

func (b *bootFiles) install(ctx context.Context, set *bootfiles.Set, root string, writable func() error, version string) error {
	change, err := set.Compare(ctx, root, b.back())
	if err != nil {
		return err
	}
	if why := change.Newer(); why != "" {
		b.con.say("boot files: %s", why)
	}
	if !change.Needed() {
		return nil
	}
	if err := writable(); err != nil {
		return err
	}
	// Which version brings the boot manager has to be known if it does not come up.
	if sum, ok := change.Manager(); ok {
		b.rec.BootFiles = bootfiles.Note{Brought: version, Manager: sum}
		if err := b.rec.keep(); err != nil {
			return err
		}
	}
	r, err := change.Apply(ctx)
	if err == nil && r.Written > 0 {
		b.con.say("boot files: %d of %d were written to the ESP", r.Written, r.Written+r.Kept)
	}
	return err
}

// back is the hash of a boot manager that may be replaced by an older one: the version that brought
// it was given up.
func (b *bootFiles) back() digest.Sum {
	n := b.rec.BootFiles
	if n.Brought == "" || !b.rec.Health.Refuses(n.Brought) {
		return digest.Sum{}
	}
	return n.Manager
}
