package unused_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"troy/diskwriter/ntfs"
	"troy/image/unused"
	"troy/internal/testing/samples"
)

// header is where volsnap keeps its header on a volume.
const header = 0x1e00

// TestShadowCopies: a restore point reads clusters that are free by now. Nothing of a volume that
// holds one is unused, and the note says how to be rid of it. The headers are those of Windows: one
// of a volume with shadow copies, one that Windows left behind after the last was deleted.
func TestShadowCopies(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	disk := newVolume(t, r).disk(r)
	for name, shadowed := range map[string]bool{"ntfs/dfir-volume_start.bin": true, "ntfs/dfir-volume_start_nosc_10.bin": false} {
		b, err := os.ReadFile(samples.File(t, name))
		if err != nil {
			t.Fatal(err)
		}
		d := bytes.Clone(disk)
		copy(d[volumeAt+header:volumeAt+0x2000], b[header:])
		l, notes, err := filter.Unused(t.Context(), bytes.NewReader(d), diskLen, 512)
		text := strings.Join(notes, "\n")
		if err != nil || len(l) > 0 == shadowed || strings.Contains(text, "vssadmin delete shadows") != shadowed {
			t.Errorf("%s: %d ranges, %q, %v", name, len(l), text, err)
		}
	}
}

// TestShadowSample looks at a whole volume of Windows that holds shadow copies.
func TestShadowSample(t *testing.T) {
	f, err := os.Open(samples.Unpack(t, t.TempDir(), "ntfs/dfvfs-vss.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := unused.ReadNTFS(t.Context(), f, size); err != nil || !v.Shadowed || len(v.Free) > 0 {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := ntfs.Open(f, size); err != nil {
		t.Error(err)
	} else if free, err := v.FreeRuns(); err != nil || len(free) == 0 {
		t.Errorf("%d free runs, %v: the sample shows nothing", len(free), err)
	}
}

// TestTypes: only partitions of types that can hold a plain NTFS are looked into, whatever they
// begin with: dynamic disks, Storage Spaces and others put volumes together as they like.
func TestTypes(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	v := newVolume(t, r)
	gpt, mbr := v.disk(r), asMBR(v.disk(r))
	look := func(what string, d []byte, want bool) {
		t.Helper()
		if l, notes, err := filter.Unused(t.Context(), bytes.NewReader(d), diskLen, 512); err != nil || len(l) > 0 != want {
			t.Errorf("%s: %d ranges, %q, %v", what, len(l), notes, err)
		}
	}
	look("GPT", gpt, true)
	for _, code := range []string{"4202", "2700"} { // a dynamic disk, a recovery environment
		look("GPT "+code, retype(t, gpt, code), false)
	}
	for typ, want := range map[byte]bool{0x07: true, 0x17: true, 0x27: true, 0x42: false, 0x83: false, 0xe7: false, 0xfd: false} {
		d := bytes.Clone(mbr)
		d[446+32+4] = typ
		look("MBR", d, want)
	}
	logical := bytes.Clone(mbr) // the volume as a logical drive
	le := binary.LittleEndian
	e := logical[446+32:]
	e[4] = 0x0f
	le.PutUint32(e[8:], volumeAt/512-8)
	ebr := logical[volumeAt-8*512:]
	ebr[446+4], ebr[510], ebr[511] = 7, 0x55, 0xaa
	le.PutUint32(ebr[446+8:], 8)
	le.PutUint32(ebr[446+12:], volumeLen/512)
	look("logical drive", logical, true)
	ebr[446+4] = 0x83
	look("logical drive of Linux", logical, false)
}

// retype gives the second partition another type.
func retype(t *testing.T, disk []byte, code string) []byte {
	t.Helper()
	p := t.TempDir() + "/disk"
	if err := os.WriteFile(p, disk, 0o644); err != nil {
		t.Fatal(err)
	}
	program(t, "sgdisk", "-t", "2:"+code, p)
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
