package testdisk

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/gates"
	"troy/internal/errline"
	"troy/vhdx"
)

// plant spoils what Windows left of a disk.
type plant func(dir string, d *Disk) error

// writeTwice writes a sector as a program would that has the disk attached.
func writeTwice(off int64) plant {
	return func(dir string, d *Disk) error {
		c, err := vhdx.OpenChain(filepath.Join(dir, d.Name()), &vhdx.ChainOptions{Writable: true, Parents: &vhdx.Parents{}})
		if err != nil {
			return err
		}
		_, err = c.WriteAt(make([]byte, sector), off)
		return errline.Join(err, c.Close())
	}
}

// poke changes bytes of a file.
func poke(path string, off int64, b ...byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, off)
	return errline.Join(err, f.Close())
}

// parentWritten changes a byte of the parent.
func parentWritten(dir string, d *Disk) error {
	path := filepath.Join(dir, d.Files[1].Path)
	err := os.Rename(path, path+".old") // other tests have it, too
	return errline.Join(err, copyFile(path, path+".old"), poke(path, 5*mib, 1))
}

// length makes the leaf longer or shorter.
func length(by int64) plant {
	return func(dir string, d *Disk) error { return os.Truncate(filepath.Join(dir, d.Name()), d.Files[0].Size+by) }
}

// entry changes the BAT of the leaf.
func entry(change func(geo vhdx.Geometry, bat []byte)) plant {
	return func(dir string, d *Disk) error {
		path := filepath.Join(dir, d.Name())
		f, err := vhdx.Open(path, nil)
		if err != nil {
			return err
		}
		region, _ := f.Regions().Find(vhdx.RegionBAT)
		bat, geo := make([]byte, unit), f.Geometry()
		if err := f.Close(); err != nil {
			return err
		}
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = file.ReadAt(bat, region.Offset)
		change(geo, bat)
		_, err2 := file.WriteAt(bat, region.Offset)
		return errline.Join(err, err2, file.Close())
	}
}

// sameGUID gives a file the DataWriteGuid that it had.
func sameGUID(name string, n int) plant {
	return func(dir string, d *Disk) error {
		if name == "" {
			name = d.Files[n].Path
		}
		path := filepath.Join(dir, name)
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		h, _, err := vhdx.ReadHeaders(file)
		if err != nil {
			return errline.Join(err, file.Close())
		}
		h.DataWriteGUID = d.Files[n].DataWriteGUID
		_, err = file.WriteAt(h.Marshal(), vhdx.Header1Offset)
		h.SequenceNumber++
		_, err2 := file.WriteAt(h.Marshal(), vhdx.Header2Offset)
		return errline.Join(err, err2, file.Close())
	}
}

// otherParent makes the leaf name a parent that it does not stand on.
func otherParent(dir string, d *Disk) error {
	path := filepath.Join(dir, "machine/base.vhdx")
	parent, err := vhdx.Open(path, nil)
	if err != nil {
		return err
	}
	leaf, err := vhdx.Open(filepath.Join(dir, d.Name()), &vhdx.OpenOptions{Writable: true})
	if err != nil {
		return err
	}
	return errline.Join(vhdx.Relink(leaf, &vhdx.RelinkOptions{Parent: parent, IgnoreMismatch: true}), leaf.Close(), parent.Close())
}

// asMade puts the file back that was there before Windows ran.
func asMade(t *testing.T) plant {
	return func(dir string, d *Disk) error {
		from, _ := set(t)
		return copyFile(filepath.Join(dir, d.Name()), filepath.Join(from, d.Name()))
	}
}

func leftLog(dir string, _ *Disk) error {
	return (&maker{work: dir}).leaveLog([]Piece{{unit, unit, 99}})
}

func swapEntries(geo vhdx.Geometry, bat []byte) {
	a, b := bat[geo.PayloadIndex(0)*8:][:8], bat[geo.PayloadIndex(1)*8:][:8]
	var keep [8]byte
	copy(keep[:], a)
	copy(a, b)
	copy(b, keep[:])
}

func unmap(geo vhdx.Geometry, bat []byte) {
	p := bat[geo.PayloadIndex(1)*8:]
	e := vhdx.BATEntry(binary.LittleEndian.Uint64(p))
	binary.LittleEndian.PutUint64(p, uint64(vhdx.NewBATEntry(vhdx.PayloadUnmapped, e.FileOffset())))
}

// Each fault is found, under its gate, with a line that names the file and the fault.
func TestPlantedFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		leaf string
		do   plant
		gate string
		says string
	}{
		{"another byte where it was written", "machine/fresh.vhdx", writeTwice(unit), "W9", "machine/fresh.vhdx: byte 4096 is not what was written there"},
		{"a byte where nothing was written", "machine/personal.vhdx", writeTwice(64 * kib), "W11", "machine/personal.vhdx: byte 65536 was changed, where nothing was written"},
		{"grew", "machine/fresh.vhdx", length(mib), "W6", "machine/fresh.vhdx: the file has 10485760 bytes, and had 9437184"},
		{"shrank", "machine/chain3.vhdx", length(-mib), "W6", "machine/chain3.vhdx: the file has 8388608 bytes, and had 9437184"},
		{"shrank, and is lost", "machine/chain3.vhdx", length(-mib), "W1", "machine/chain3.vhdx: cannot be read any more"},
		{"a block moved", "merged/boot.vhdx", entry(swapEntries), "W6", "merged/boot.vhdx: block 0 lay at byte"},
		{"a block was trimmed", "machine/fresh.vhdx", entry(unmap), "W6", "machine/fresh.vhdx: block 1 is UNMAPPED"},
		{"the log was left", "machine/dirty.vhdx", leftLog, "W2", "machine/dirty.vhdx: its log was not closed"},
		{"the parent was written to", "machine/fresh.vhdx", parentWritten, "W9", "machine/fresh.vhdx: its parent machine/base.vhdx was changed"},
		{"the DataWriteGuid stayed", "plain/child.vhdx", sameGUID("", 0), "W4", "plain/child.vhdx: the content is another one under the same DataWriteGuid"},
		{"a header was damaged", "plain/space.vhdx", func(dir string, d *Disk) error { return poke(filepath.Join(dir, d.Name()), vhdx.Header1Offset, 'x') }, "W4", "plain/space.vhdx: vhdx check:"},
		{"it names another parent", "machine/chain4.vhdx", otherParent, "W15", "machine/chain4.vhdx: vhdx check: error: parent locator"},
		{"the merge is wrong", "timed/child.vhdx", func(dir string, d *Disk) error {
			return poke(filepath.Join(dir, "windows/timed/parent.vhdx"), 6*mib, 'x', 'y', 'z')
		}, "W3", "windows/timed/parent.vhdx: after the merge byte"},
		{"the merge kept the DataWriteGuid", "timed/child.vhdx", sameGUID("windows/timed/parent.vhdx", 1), "W3", "windows/timed/parent.vhdx: the content is another one under the same"},
		{"the writes were lost", "machine/personal.vhdx", asMade(t), "W11", "machine/personal.vhdx: was reported as written, and is as it was made"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, all := set(t)
			from, r := wholeSet(t)
			dir, m := part(t, from, all, c.leaf)
			d := &m.Disks[0]
			if err := c.do(dir, d); err != nil {
				t.Fatal(err)
			}
			if err := Judge(ctx, dir, r); err != nil {
				t.Fatal(err)
			}
			want(t, r, c.gate, gates.Fail, c.says)
			for _, a := range r.Gates {
				if a.Status == gates.Fail && a.Gate != d.Gate && a.Gate != "W6" {
					t.Errorf("%s failed as well:\n%s", a.Gate, strings.Join(a.Evidence, "\n"))
				}
			}
			if b, err := r.Encode(); err != nil || strings.Contains(string(b), dir) {
				t.Errorf("%v: the result names the folder: %s", err, b)
			}
		})
	}
}

// Attached for writing and not written to is no answer.
func TestNotWritten(t *testing.T) {
	dir, m := some(t, "machine/dirty.vhdx")
	c, err := vhdx.OpenChain(filepath.Join(dir, m.Disks[0].Name()), &vhdx.ChainOptions{Writable: true, Parents: &vhdx.Parents{}})
	if err != nil {
		t.Fatal(err)
	}
	r := newResult()
	if err := errors.Join(c.Close(), Judge(ctx, dir, r)); err != nil {
		t.Fatal(err)
	}
	want(t, r, "W2", gates.NotRun, "machine/dirty.vhdx: the file was changed, and not what it shows")
}
