package testlab

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"troy/chainload/release"
	"troy/initramfs"
	"troy/initramfs/media"
	"troy/internal/testing/fixture"
)

// smallDisk is the virtual disk of a small lab, in bytes.
const smallDisk = 96 << 20

// Small makes a lab with the same network, kernel and command but an image of its own: a disk of 96
// MiB of random content with gaps, and a second version of it with many changes, so that a whole
// deployment is quick and each part of it takes a noticeable time. Its PCs start the stand-in
// even without any boot entry. dir is an existing folder; the new lab is closed with the old one.
func (l *Lab) Small(ctx context.Context, dir string, seed uint64) (*Lab, error) {
	return l.small(ctx, dir, l.bootManager(), true, func() (*fixture.Windows, error) {
		w := &fixture.Windows{V1: filepath.Join(dir, "v1.raw"), V2: filepath.Join(dir, "v2.raw")}
		return w, makeVersions(w, seed)
	})
}

// SmallNTFS is Small with an NTFS volume on the disk, in which a session of Windows can be seen to
// have gone well; with another boot manager than the stand-in if bootManager is not empty.
func (l *Lab) SmallNTFS(ctx context.Context, dir, bootManager string, seed uint64) (*Lab, error) {
	bootManager = cmp.Or(bootManager, l.bootManager())
	return l.small(ctx, dir, bootManager, false, func() (*fixture.Windows, error) {
		return fixture.MakeSmallPair(ctx, dir, bootManager, bareDisk, 512, seed)
	})
}

func (l *Lab) small(ctx context.Context, dir, bootManager string, random bool, makeDisks func() (*fixture.Windows, error)) (_ *Lab, err error) {
	s := *l
	s.o, s.random = Options{Dir: dir, Out: io.Discard}, random
	s.Store, s.pc = filepath.Join(dir, "store"), filepath.Join(dir, "prepared.img")
	if s.Windows, err = makeDisks(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if err := s.publish(ctx); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if err := s.pinStore(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	err = fixture.MakePC(ctx, s.pc, &fixture.PCOptions{Image: Image, Version: 1, Raw: s.Windows.V1, Store: s.Store, SlotBytes: smallDisk,
		BootMgr: bootManager, Removable: true})
	s.o.Out = l.o.Out
	return &s, err
}

// BareImage is the name of the image that PublishBare publishes.
const BareImage = "bare-metal"

// bareDisk is the virtual disk of that image, in bytes.
const bareDisk = 128 << 20

// BareDisk makes a small raw disk with boot files in it: a GPT with one volume.
func (l *Lab) BareDisk(ctx context.Context, dir string, seed uint64) (raw string, err error) {
	raw = filepath.Join(dir, "bare.raw")
	return raw, fixture.MakeSmall(ctx, raw, l.bootManager(), bareDisk, seed)
}

// PublishBare publishes such a disk as version 1 of an image of its own.
func (l *Lab) PublishBare(ctx context.Context, dir string, seed uint64) error {
	raw, err := l.BareDisk(ctx, dir, seed)
	if err != nil {
		return err
	}
	return l.PublishRaw(ctx, BareImage, raw)
}

// PublishRaw publishes a raw image as version 1 of an image of its own, with further flags.
func (l *Lab) PublishRaw(ctx context.Context, image, raw string, flags ...string) error {
	disk := raw + ".vhdx"
	defer os.Remove(disk)
	if err := l.command(ctx, "vhdx", "convert", "--to", "dynamic", raw, disk); err != nil {
		return err
	}
	return l.image(ctx, append([]string{"import", image, disk}, flags...)...)
}

// pinStore gives the lab media that trust its own store and server.
func (l *Lab) pinStore() (err error) {
	if l.site, err = (&media.Config{Store: l.Store}).Site(time.Now()); err != nil {
		return err
	}
	l.initrd = filepath.Join(l.o.Dir, release.Initrd)
	return l.join()
}

// Overlay writes an initramfs with further files, which replace those of the same name.
func Overlay(initrd, out string, files ...initramfs.File) error {
	first, err := os.ReadFile(initrd)
	if err != nil {
		return err
	}
	both, err := overlay(first, files)
	if err != nil {
		return err
	}
	return os.WriteFile(out, both, 0o644)
}

// overlay adds a second archive to an initramfs: the kernel unpacks it over the first.
func overlay(initrd []byte, files []initramfs.File) ([]byte, error) {
	dir, err := os.MkdirTemp("", "troy-overlay-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	second := filepath.Join(dir, "second.cpio.zst")
	if err := initramfs.Pack(second, files); err != nil {
		return nil, err
	}
	more, err := os.ReadFile(second)
	return append(initrd, more...), err
}

// makeVersions writes two raw images.
func makeVersions(w *fixture.Windows, seed uint64) error {
	disk := make([]byte, smallDisk)
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	noise, r := rand.NewChaCha8(key), rand.New(rand.NewPCG(seed, 2))
	scatter := func(n, most int) {
		for range n {
			off := r.IntN(smallDisk - most)
			noise.Read(disk[off : off+1+r.IntN(most)])
		}
	}
	scatter(60, 2<<20)
	if err := os.WriteFile(w.V1, disk, 0o644); err != nil {
		return err
	}
	scatter(25, 2<<20)
	scatter(400, 20<<10)
	for range 6 {
		off := r.IntN(smallDisk - 1<<20)
		clear(disk[off : off+r.IntN(1<<20)])
	}
	noise.Read(disk[:1])
	noise.Read(disk[smallDisk-1:])
	return os.WriteFile(w.V2, disk, 0o644)
}
