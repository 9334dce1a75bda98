package standin

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/internal/testing/fixture"
	"troy/internal/testing/medium"
	"troy/trial/inside"
	"troy/trial/vm"
)

// played is a virtual PC whose Windows is played. Its starts have no firmware, which package
// qemutests has.
type played struct {
	t              *testing.T
	dir            string
	kernel, initrd string
	disk           string
	bus            vm.Bus
}

func newPlayed(t *testing.T) *played {
	t.Helper()
	dir := t.TempDir()
	p := &played{t: t, dir: dir, kernel: os.Getenv("KERNEL"), initrd: filepath.Join(dir, "initrd"), disk: filepath.Join(dir, "pc.img")}
	o := &Options{Kernel: p.kernel, Modules: os.Getenv("MODULES"), Out: filepath.Join(dir, "bootmgfw.efi"), Plays: true}
	if o.Kernel == "" || o.Modules == "" {
		t.Fatal("KERNEL and MODULES must be set (make deps fetches both)")
	}
	p.must(o.initrd(t.Context(), p.initrd))
	p.must(unify(p.kernel, p.initrd, cmdline, o.Out))
	iso, raw := filepath.Join(dir, "win.iso"), filepath.Join(dir, "raw.img")
	p.must(medium.Make(t.Context(), &medium.Options{BootManager: o.Out, Out: iso}))
	p.must(medium.Disk(t.Context(), iso, 128<<20, []byte("<unattend/>"), raw))
	p.must(fixture.MakePC(t.Context(), p.disk, &fixture.PCOptions{Image: "trial", Version: 1, Raw: raw}))
	return p
}

func (p *played) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// start starts the PC with a disc that has the order, and waits for the lines. With cut its power
// is cut then, else it has to end by itself.
func (p *played) start(o *inside.Order, cut bool, lines ...string) {
	p.t.Helper()
	disc := filepath.Join(p.dir, "disc.iso")
	p.must(medium.Order(p.t.Context(), o, disc))
	m, err := vm.Start(p.t.Context(), &vm.Config{Name: "played", Dir: p.dir, Kernel: p.kernel, Initrd: p.initrd, Cmdline: cmdline, NoReboot: true,
		Disks: []vm.Disk{{Path: p.disk, Bus: p.bus}, {Path: disc, Bus: vm.CDROM}}, MemoryMiB: 512,
		OnLine: func(line string) {
			if strings.HasPrefix(line, "STANDIN: ") {
				p.t.Log(line)
			}
		}})
	p.must(err)
	defer m.Close()
	for _, line := range lines {
		_, err := m.Expect(p.t.Context(), "STANDIN: "+line)
		p.must(err)
	}
	if cut {
		m.Kill()
	}
	if err := m.Wait(context.WithoutCancel(p.t.Context())); cut != errors.Is(err, vm.ErrKilled) || !cut && err != nil {
		p.t.Fatal(err)
	}
}

// record returns the record of an order, and whether the volume was closed in order.
func (p *played) record(order int) (r *inside.Record, closed bool) {
	p.t.Helper()
	target, err := pcdisk.Look(p.disk, &blockdev.Options{ReadOnly: true})
	p.must(err)
	defer target.Close()
	_, _, err = target.Open()
	p.must(err)
	chain, err := pcdisk.Chain(target.Files())
	p.must(err)
	v, err := pcdisk.WindowsVolume(chain, chain.Size(), 512)
	p.must(err)
	f, err := v.OpenFile(inside.RecordFile)
	p.must(err)
	r, err = inside.Of(f, order)
	p.must(err)
	if r == nil {
		p.t.Fatalf("order %d has no record", order)
	}
	return r, v.Judge().Except(ntfs.ErrSecondWindows).Condition == ntfs.Clean && target.Judge().Condition == ntfs.Clean
}

// The program itself, in a virtual PC: setup's restarts are resets of the PC, the order comes from
// a drive, each kind of disk is found, and a power cut leaves what one leaves.
func TestPlaysWindows(t *testing.T) {
	p := newPlayed(t)
	order := func(n int, do ...inside.Action) *inside.Order {
		return &inside.Order{Number: n, Do: do, Stamp: uint32(n), BallastMiB: 4}
	}
	p.start(order(1), false, "setup: restart 1 of 2", "closed in order", "restarting")
	if os.Getenv("TROY_SOAK") != "1" {
		return // package player tries the rest without a virtual PC
	}
	p.bus = vm.NVMe
	p.start(order(1), false, "setup: restart 2 of 2", "restarting")
	p.bus = vm.AHCI
	p.start(order(1), false, "setup: over", "order 1: recorded", "closed in order", "powering off")
	if r, closed := p.record(1); !closed || r.Phase != inside.Desktop || !r.Ballast.One(1) || r.PC.Maker != "QEMU" || r.PC.Virtual != "QEMU" {
		t.Errorf("the first logon left %+v, closed %t", r, closed)
	}
	p.start(order(2, inside.Fill, inside.Stay), true, "order 2: recorded, did .fill.", "staying")
	if r, closed := p.record(2); closed || r.Phase != inside.Up || !r.Ballast.One(1) {
		t.Errorf("the power cut left %+v, closed %t", r, closed)
	}
}
