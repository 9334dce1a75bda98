package unused_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"troy/diskwriter/blockdev"
	"troy/image"
	"troy/image/publish"
	"troy/image/unused"
	"troy/internal/guid"
)

const (
	mib       = 1 << 20
	volumeLen = 40 * mib
	diskLen   = 48 * mib
	volumeAt  = 2 * mib
)

// program runs a tool; one that is missing fails the test.
func program(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, errs.Bytes())
	}
	return out
}

func random(r *rand.Rand, n int) []byte {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], r.Uint64())
	b := make([]byte, n)
	rand.NewChaCha8(seed).Read(b)
	return b
}

// volume is an NTFS volume in a file. Its free clusters hold random bytes.
type volume struct {
	t    *testing.T
	path string
}

func newVolume(t *testing.T, r *rand.Rand) *volume {
	v := &volume{t, filepath.Join(t.TempDir(), "volume")}
	if err := os.WriteFile(v.path, random(r, volumeLen), 0o644); err != nil {
		t.Fatal(err)
	}
	program(t, "mkntfs", "-Q", "-F", "-q", "-c", "4096", "-s", "512", "-p", "4096", "-H", "16", "-S", "63", v.path)
	return v
}

func (v *volume) put(name string, content []byte) {
	p := filepath.Join(v.t.TempDir(), "file")
	if err := os.WriteFile(p, content, 0o644); err != nil {
		v.t.Fatal(err)
	}
	program(v.t, "ntfscp", "-q", v.path, p, name)
}

// disk returns a GPT disk with the volume as its second partition, between random bytes.
func (v *volume) disk(r *rand.Rand) []byte {
	v.t.Helper()
	b, err := os.ReadFile(v.path)
	if err != nil {
		v.t.Fatal(err)
	}
	d := random(r, diskLen)
	clear(d[:mib])
	clear(d[diskLen-mib:])
	copy(d[volumeAt:], b)
	p := filepath.Join(v.t.TempDir(), "disk")
	if err := os.WriteFile(p, d, 0o644); err != nil {
		v.t.Fatal(err)
	}
	program(v.t, "sgdisk", "-a", "1", "-U", "11111111-2222-3333-4444-555555555555", "-n", "1:2048:4095", "-t", "1:ef00",
		"-n", "2:4096:86015", "-t", "2:0700", p)
	if d, err = os.ReadFile(p); err != nil {
		v.t.Fatal(err)
	}
	return d
}

func source(d []byte, id string) *publish.Disk {
	return &publish.Disk{Reader: bytes.NewReader(d), Size: int64(len(d)), SectorSize: 512, DataWriteGUID: id}
}

var filter publish.Filter = unused.Filter{}

type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

// TestPublishedVolumes publishes two versions of a real NTFS volume whose free clusters hold other
// random bytes each time. Machines whose disk was random before must hold every file, ship little,
// and have a volume without faults.
func TestPublishedVolumes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	v := newVolume(t, r)
	content := map[string][]byte{"a.dll": random(r, 3*mib+123), "b.dll": random(r, 70000), "small.ini": random(r, 300), "hiberfil.sys": make([]byte, 2*mib)}
	for name, b := range content {
		v.put(name, b)
	}
	v.put("pagefile.sys", random(r, 4*mib))
	d1 := v.disk(r)

	content["new.dll"] = random(r, mib+77)
	content["b.dll"] = random(r, 90001)
	v.put("new.dll", content["new.dll"])
	v.put("b.dll", content["b.dll"])
	d2 := v.disk(r)
	scrambleUnused(t, r, d2)

	s, err := publish.Init(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o := &publish.Options{Filter: filter}
	m1, err := publish.Import(t.Context(), s, "pc", source(d1, "g1"), o)
	if err != nil {
		t.Fatal(err)
	}
	m2, err := publish.Add(t.Context(), s, "pc", publish.CompareDisk(source(d2, "g2"), source(d1, "g1")), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("version 1 %+v\n%s", m1.Figures, strings.Join(m1.Notes, "\n"))
	t.Logf("version 2 %+v\n%s", m2.Figures, strings.Join(m2.Notes, "\n"))
	// 8 MiB around the volume are random and count, and so do the files; the page file and the free
	// clusters do not.
	if m1.Figures.Undefined < 30*mib || m1.Figures.Shipped > 16*mib {
		t.Errorf("version 1: %+v", m1.Figures)
	}
	if outside := int64(6 * mib); m2.Figures.Shipped > outside+3*mib || m2.Figures.Undefined < 25*mib {
		t.Errorf("version 2: %+v", m2.Figures)
	}
	for have := range 2 {
		disk := random(r, diskLen)
		if have == 1 {
			disk = fetch(t, s, disk, 0, 1)
		}
		disk = fetch(t, s, disk, have, 2)
		checkVolume(t, disk, content)
	}
}

func fetch(t *testing.T, s *image.Store, disk []byte, have, want int) []byte {
	t.Helper()
	p, err := image.LoadPlan(t.Context(), s, "pc", have, want)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Fetch(t.Context(), s, memory(disk), nil); err != nil {
		t.Fatal(err)
	}
	return disk
}

// scrambleUnused fills what the filter calls unused with other random bytes: all of it is garbage
// by definition.
func scrambleUnused(t *testing.T, r *rand.Rand, disk []byte) {
	l, _, err := filter.Unused(t.Context(), bytes.NewReader(disk), diskLen, 512)
	if err != nil || len(l) == 0 {
		t.Fatalf("Unused = %v, %v", l, err)
	}
	for _, u := range l {
		copy(disk[u.Offset:u.Offset+u.Length], random(r, int(u.Length)))
	}
}

// checkVolume takes every file out by ntfscat and lets ntfsfix look for faults.
func checkVolume(t *testing.T, disk []byte, content map[string][]byte) {
	t.Helper()
	p := filepath.Join(t.TempDir(), "volume")
	if err := os.WriteFile(p, disk[volumeAt:volumeAt+volumeLen], 0o644); err != nil {
		t.Fatal(err)
	}
	program(t, "ntfsfix", "-n", p)
	for name, want := range content {
		got := program(t, "ntfscat", p, name)
		if name == "hiberfil.sys" { // all but its head may hold anything
			got, want = got[:64<<10], want[:64<<10]
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%s differs", name)
		}
	}
}

// TestStates judges volumes in every state: what is unclean counts as a whole, what must not be
// published is refused.
func TestStates(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	v := newVolume(t, r)
	v.put("a.dll", random(r, mib))
	clean := v.disk(r)
	program(t, "ntfsfix", v.path) // sets the dirty flag
	dirty := v.disk(r)

	v = newVolume(t, r)
	v.put("hiberfil.sys", append([]byte("HIBR"), random(r, mib)...))
	asleep := v.disk(r)

	crypt := bytes.Clone(clean)
	copy(crypt[volumeAt+3:], "-FVE-FS-")
	other := bytes.Clone(clean)
	copy(other[volumeAt+3:], "MSDOS5.0")
	bent := bytes.Clone(clean)
	bent[512+90]++ // within the GPT header's sum

	for _, c := range []struct {
		name   string
		disk   []byte
		unused bool
		err    error
		note   string
	}{
		{"clean", clean, true, nil, "partition 2: NTFS, clean"},
		{"dirty", dirty, false, nil, "not clean"},
		{"hibernated", asleep, false, unused.ErrHibernated, ""},
		{"BitLocker", crypt, false, unused.ErrBitLocker, ""},
		{"FAT", other, false, nil, "partition 2: no NTFS"},
		{"BitLocker while it converts", converting(clean), false, unused.ErrBitLocker, ""},
		{"damaged GPT", bent, false, nil, "GPT damaged"},
		{"no table", make([]byte, diskLen), false, nil, "no partition table"},
		{"MBR", asMBR(clean), true, nil, "partition 3: NTFS, clean"},
	} {
		l, notes, err := filter.Unused(t.Context(), bytes.NewReader(c.disk), diskLen, 512)
		if !errors.Is(err, c.err) || len(l) > 0 != c.unused || !strings.Contains(strings.Join(notes, "\n"), c.note) {
			t.Errorf("%s: %d ranges, %q, %v", c.name, len(l), notes, err)
		}
		for _, u := range l {
			if u.Offset < volumeAt || u.Offset+u.Length > volumeAt+volumeLen {
				t.Errorf("%s: %+v lies outside the volume", c.name, u)
			}
		}
	}
}

// asMBR names the volume by the third entry of an MBR.
func asMBR(disk []byte) []byte {
	d := bytes.Clone(disk)
	clear(d[:mib])
	e := d[446+32:]
	e[4] = 7
	binary.LittleEndian.PutUint32(e[8:], volumeAt/512)
	binary.LittleEndian.PutUint32(e[12:], volumeLen/512)
	d[510], d[511] = 0x55, 0xaa
	return d
}

// TestContradictions: a reader that names what cannot be is an error, not a wrong version.
func TestContradictions(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	disk := newVolume(t, r).disk(r)
	for _, bad := range []image.Range{{Offset: 0, Length: 4096}, {Offset: -1, Length: 1}, {Offset: 4096, Length: 0}, {Offset: volumeLen - 4096, Length: 8192}, {Offset: 1 << 62, Length: 1 << 62}} {
		f := unused.WithReader(func(context.Context, io.ReaderAt, int64) (*unused.Volume, error) {
			return &unused.Volume{Free: []image.Range{{Offset: 8192, Length: 4096}, bad}}, nil
		})
		if _, _, err := f.Unused(t.Context(), bytes.NewReader(disk), diskLen, 512); !errors.Is(err, unused.ErrVolume) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// FuzzPartitions: whatever the table says, partitions lie inside the disk, and the filter does not
// panic. sums makes the checksums of a GPT right.
func FuzzPartitions(f *testing.F) {
	le := binary.LittleEndian
	mbr, header, entries := make([]byte, 512), make([]byte, 92), make([]byte, 4*128)
	copy(header, "EFI PART")
	header[10] = 1 // revision 1.0
	le.PutUint32(header[12:], 92)
	for off, lba := range map[int]uint64{24: 1, 32: 127, 40: 34, 48: 120, 72: 2} {
		le.PutUint64(header[off:], lba)
	}
	le.PutUint32(header[80:], 4)
	le.PutUint32(header[84:], 128)
	copy(entries, append(blockdev.TypeBasicData[:], "the GUID of this"...))
	le.PutUint64(entries[32:], 40)
	le.PutUint64(entries[40:], 90)
	mbr[450], mbr[510], mbr[511] = 0xee, 0x55, 0xaa
	f.Add(mbr, header, entries, true)
	f.Add(mbr, header, entries, false)
	mbr = bytes.Clone(mbr)
	mbr[450] = 7
	le.PutUint32(mbr[454:], 40)
	le.PutUint32(mbr[458:], 9)
	f.Add(mbr, []byte{}, []byte{}, false)
	f.Fuzz(func(t *testing.T, mbr, header, entries []byte, sums bool) {
		d := make([]byte, 64<<10)
		copy(d[:512], mbr)
		copy(d[512:1024], header)
		copy(d[1024:40*512], entries)
		copy(d[40*512+3:], "NTFS    ")
		if n := le.Uint32(d[512+12:]); sums && n >= 92 && n <= 512 {
			if size := int64(le.Uint32(d[512+80:])) * int64(le.Uint32(d[512+84:])); size >= 0 && size < 32<<10 {
				le.PutUint32(d[512+88:], crc32.ChecksumIEEE(d[1024:1024+size]))
			}
			clear(d[512+16 : 512+20])
			le.PutUint32(d[512+16:], crc32.ChecksumIEEE(d[512:512+n]))
		}
		u := unused.WithReader(func(_ context.Context, r io.ReaderAt, size int64) (*unused.Volume, error) {
			if size < 512 || size > int64(len(d)) {
				t.Fatalf("volume of %d bytes on a disk of %d", size, len(d))
			}
			return &unused.Volume{Free: []image.Range{{Offset: 512, Length: max(size-512, 1)}}}, nil
		})
		l, _, err := u.Unused(t.Context(), bytes.NewReader(d), int64(len(d)), 512)
		if err != nil {
			return
		}
		for _, r := range l {
			if r.Offset < 0 || r.Length <= 0 || r.Offset+r.Length > int64(len(d)) {
				t.Fatalf("%+v on a disk of %d", r, len(d))
			}
		}
	})
}

// converting is a disk whose volume keeps the look of NTFS, but names BitLocker's metadata.
func converting(disk []byte) []byte {
	d := bytes.Clone(disk)
	id := guid.Must("4967d63b-2e29-4ad8-8399-f6a339e3d001")
	copy(d[volumeAt+0xa0:], id[:])
	return d
}
