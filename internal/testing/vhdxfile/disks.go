package vhdxfile

import (
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"slices"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// States of payload blocks (MS-VHDX 2.5.1.1).
const (
	notPresent       = 0
	zero             = 2
	unmapped         = 3
	fullyPresent     = 6
	partiallyPresent = 7
)

// disk is a VHDX file and what it shows.
type disk struct {
	name, parent string
	creator      string
	fixed        bool
	size, block  int64 // bytes
	physical     uint32
	blocks       []int   // state of each payload block
	sectors      []int64 // of a differencing disk: those that block 0 has
	data         []piece // of this file, ascending
	qemu         bool    // regions where QEMU puts them, and garbage behind the last entry of the BAT
	behind       int     // log entries of which the places are not written yet
}

// piece is a range of the virtual disk that holds something.
type piece struct {
	off int64
	b   []byte
}

// disks are of the same kinds, names and numbers as the samples, with another content.
func disks() []*disk {
	return []*disk{fatParent(), fatChild(), ntfsDynamic(), ext2(), dynamic1G(), dirtyQEMU(), dirtyWindows(), lvm2()}
}

const (
	windows     = "Microsoft Windows 10.0.19041.0"
	windows2012 = "Microsoft Windows 6.2.9200.16384"
)

func fatParent() *disk {
	d := &disk{name: "fat-parent.vhdx", creator: windows, fixed: true, size: 4 * mib, block: 2 * mib, physical: 4096}
	d.blocks = []int{fullyPresent, fullyPresent}
	d.noise(0, 12*kib)
	d.noise(0x10800, 100*kib)
	d.noise(3*mib+512, 300*kib)
	return d
}

// fatChild has 18 sectors of the first block.
func fatChild() *disk {
	d := &disk{name: "fat-differential.vhdx", parent: "fat-parent.vhdx", creator: windows, size: 4 * mib, block: 2 * mib, physical: 4096}
	d.blocks = []int{partiallyPresent, notPresent}
	for _, r := range [][2]int64{{134, 1}, {143, 1}, {152, 8}, {2047, 1}, {2050, 7}} {
		d.noise(r[0]*512, int(r[1]*512))
		for i := range r[1] {
			d.sectors = append(d.sectors, r[0]+i)
		}
	}
	return d
}

func ntfsDynamic() *disk {
	d := &disk{name: "ntfs-dynamic.vhdx", creator: windows, size: 4 * mib, block: 32 * mib, physical: 4096}
	d.blocks = []int{fullyPresent}
	d.noise(0, 8*kib)
	d.noise(2*mib-1000, 500*kib)
	return d
}

func ext2() *disk {
	d := &disk{name: "ext2.vhdx", creator: "QEMU v5.2.0", size: 4 * mib, block: 8 * mib, physical: 512, qemu: true}
	d.blocks = []int{fullyPresent}
	d.noise(1024, 60*kib)
	d.noise(4*mib-512, 512)
	return d
}

func dynamic1G() *disk {
	d := &disk{name: "iotest-dynamic-1G.vhdx", creator: windows2012, size: gib, block: 32 * mib, physical: 4096}
	d.blocks = slices.Concat(states(fullyPresent, 3), states(zero, 29))
	d.pattern(0, 0xa5, 4*mib)
	d.pattern(33*mib, 0x96, 2*mib)
	return d
}

// dirtyQEMU shows A5 in its first 18 MiB; that the last blocks are there only the log says.
func dirtyQEMU() *disk {
	d := &disk{name: "iotest-dirtylog-10G-4M.vhdx", creator: "QEMU v1.6.50", size: 10 * gib, block: mib, physical: 512, qemu: true, behind: 1}
	d.blocks = slices.Concat(states(fullyPresent, 18), states(notPresent, 10222))
	d.pattern(0, 0xa5, 18*mib)
	return d
}

func dirtyWindows() *disk {
	d := &disk{name: "vhdx-log-replay.vhdx", creator: "Microsoft Windows 10.0.15063.0", size: gib, block: 32 * mib, physical: 4096, behind: 2}
	d.blocks = states(notPresent, 32)
	d.blocks[0], d.blocks[3], d.blocks[9], d.blocks[31] = fullyPresent, zero, zero, zero
	d.noise(0, 40*kib)
	d.noise(31*mib, 5000)
	return d
}

// lvm2 has a bitmap entry after each 128 blocks, which lie in the file in another order than on the
// disk.
func lvm2() *disk {
	d := &disk{name: "lvm2.vhdx", creator: "Microsoft Windows 10.0.14393.0", size: 10 * gib, block: 32 * mib, physical: 4096}
	d.blocks = slices.Concat(states(fullyPresent, 18), states(zero, 39), states(unmapped, 25), states(notPresent, 238))
	d.random().Shuffle(len(d.blocks), func(i, j int) { d.blocks[i], d.blocks[j] = d.blocks[j], d.blocks[i] })
	for b, s := range d.blocks {
		if s == fullyPresent {
			d.noise(int64(b)*d.block+int64(b)*4096, 20*kib)
		}
	}
	return d
}

func states(s, n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = s
	}
	return list
}

// hash is different for each disk and purpose, and always the same.
func (d *disk) hash(purpose string) [32]byte { return sha256.Sum256([]byte(d.name + "/" + purpose)) }

func (d *disk) random() *rand.Rand { return rand.New(rand.NewChaCha8(d.hash("random"))) }

// noise puts n bytes of noise at off; nothing may be there yet.
func (d *disk) noise(off int64, n int) {
	b := make([]byte, n)
	src := rand.NewChaCha8(d.hash("noise"))
	for range off%251 + 1 { // other noise elsewhere
		src.Uint64()
	}
	src.Read(b)
	d.data = append(d.data, piece{off, b})
}

func (d *disk) pattern(off int64, c byte, n int) {
	b := make([]byte, n)
	for i := range b {
		b[i] = c
	}
	d.data = append(d.data, piece{off, b})
}

// content is a virtual disk: the pieces of the leaf over those of its parents, zeros elsewhere.
type content struct {
	layers []*disk // leaf first
}

// Size returns the bytes of the disk.
func (c *content) Size() int64 { return c.layers[0].size }

// ReadAt implements io.ReaderAt.
func (c *content) ReadAt(p []byte, off int64) (n int, err error) {
	if off >= c.Size() {
		return 0, io.EOF
	}
	if int64(len(p)) > c.Size()-off {
		p, err = p[:c.Size()-off], io.EOF
	}
	clear(p)
	for _, d := range slices.Backward(c.layers) {
		for _, x := range d.data {
			from, to := max(x.off, off), min(x.off+int64(len(x.b)), off+int64(len(p)))
			if from < to {
				copy(p[from-off:to-off], x.b[from-x.off:])
			}
		}
	}
	return len(p), err
}
