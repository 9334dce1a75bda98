package qemutests

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/internal/block"
	"troy/internal/testing/testlab"
	"troy/vhdx"
)

// logEntry is one request in a write log of QEMU, whose format is that of dm-log-writes
// (Documentation/admin-guide/device-mapper/log-writes.rst, struct log_write_entry).
type logEntry struct {
	offset, length int64 // bytes of the disk
	flags          uint64
	at             int64 // of the data in the log
}

const (
	logFlush   = 1
	logFUA     = 2
	logDiscard = 4
	logMagic   = 0x6a736677736872
)

// readLog reads the list of requests.
func readLog(f io.ReaderAt) (entries []logEntry, err error) {
	le, head := binary.LittleEndian, make([]byte, 32)
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, err
	}
	if le.Uint64(head) != logMagic || le.Uint64(head[8:]) != 1 {
		return nil, fmt.Errorf("not a write log: % x", head)
	}
	sector, at := int64(le.Uint32(head[24:])), int64(0)
	at = sector
	for range le.Uint64(head[16:]) {
		if _, err := f.ReadAt(head, at); err != nil {
			return nil, err
		}
		e := logEntry{offset: int64(le.Uint64(head)) * sector, length: int64(le.Uint64(head[8:])) * sector, flags: le.Uint64(head[16:]), at: at + sector}
		at += sector
		if e.flags&logDiscard == 0 {
			at += e.length
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// replay is a copy of the NTFS volume as it was, on which the log is carried out bit by bit.
type replay struct {
	t       *testing.T
	volume  *volumeFile
	part    blockdev.Entry
	log     *os.File
	entries []logEntry
	shows   []string // raw images of what the disk shows, one after the other
	want    [][]byte // their content
	last    int      // place in shows of what was read last
	read    []int    // states that showed each
	sevenZ  []bool   // what 7zz has seen
}

// newReplay copies the volume and attaches the log.
func newReplay(t *testing.T, pc *testlab.PC, shows ...string) *replay {
	t.Helper()
	r := &replay{t: t, shows: shows, read: make([]int, len(shows)), sevenZ: make([]bool, len(shows))}
	pc.WriteLog = pc.Disk + ".log"
	path := pc.Disk + ".replay"
	var err error
	if r.log, err = os.Create(pc.WriteLog); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.log.Close() })
	if err := testlab.CutVolume(t.Context(), pc.Disk, path); err != nil {
		t.Fatal(err)
	}
	if r.volume, err = openVolume(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.volume.Close() })
	dev, err := blockdev.Open(pc.Disk, &blockdev.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	table, err := dev.ReadTable()
	if err != nil {
		t.Fatal(err)
	}
	r.part = table.ByType(blockdev.TypeBasicData)[0]
	for _, path := range shows {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		r.want = append(r.want, content)
	}
	return r
}

// check reads the log, which must have writes to these files alone, and looks at its prefixes.
func (r *replay) check(pc *testlab.PC, written ...string) {
	r.t.Helper()
	var err error
	if r.entries, err = readLog(r.log); err != nil {
		r.t.Fatal(err)
	}
	r.confined(written)
	r.prefixes()
	r.complete(pc)
}

// confined checks where the writes went.
func (r *replay) confined(written []string) {
	r.t.Helper()
	files, err := r.volume.files()
	if err != nil {
		r.t.Fatal(err)
	}
	owner := map[int64]string{} // by page of the volume
	for name, f := range files {
		claim(owner, name, f, int64(len(r.want[0])))
	}
	pages := map[string]int{}
	for i, e := range r.entries {
		if e.length == 0 || e.offset+e.length <= r.part.Start || e.offset >= r.part.Start+r.part.Size {
			continue
		}
		if e.flags&logDiscard != 0 {
			r.t.Errorf("request %d discards %d bytes at %d", i, e.length, e.offset)
		}
		for off := e.offset - r.part.Start; off < e.offset-r.part.Start+e.length; off += ntfs.PageSize - off%ntfs.PageSize {
			name := owner[off/ntfs.PageSize]
			if name == "" {
				r.t.Fatalf("request %d writes %d bytes at %d of the volume, where no \\Troy\\ file may be written to", i, e.length, e.offset-r.part.Start)
			}
			pages[name]++
		}
	}
	r.t.Logf("%d requests; pages of 4 KiB written: %v; elsewhere on the volume: 0", len(r.entries), pages)
	for _, name := range written {
		if pages[name] == 0 {
			r.t.Errorf("nothing was written to %s: the log is not whole", name)
		}
		delete(pages, name)
	}
	if len(pages) > 0 {
		r.t.Errorf("written to besides: %v", pages)
	}
}

// claim notes which pages a file may be written at: all of it, of the parent the payload only.
func claim(owner map[int64]string, name string, f *ntfs.MappedFile, virtual int64) {
	from, to := int64(0), f.Size()
	if name == pcdisk.Base {
		from = machine.BaseSize(virtual) - block.RoundUp(virtual, 2<<20) // the payload is last, in blocks of 2 MiB
		to = from + virtual
	}
	m := f.Mapping()
	cluster, at := int64(m.ClusterSize), int64(0)
	for _, run := range m.Runs {
		for off := int64(0); off < run.Length*cluster; off, at = off+ntfs.PageSize, at+ntfs.PageSize {
			if at >= from && at < to {
				owner[(run.LCN*cluster+off)/ntfs.PageSize] = name
			}
		}
	}
}

// prefixes carries out the log and looks at the volume at every flush and at random places between.
func (r *replay) prefixes() {
	r.t.Helper()
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 5))
	between := 25
	if soak() {
		between = len(r.entries)
	}
	stop := map[int]bool{}
	for range between {
		stop[rnd.IntN(len(r.entries))] = true
	}
	flushes, dirty := 0, true
	for i, e := range r.entries {
		flush := e.flags&logFlush != 0
		if (flush || stop[i]) && dirty {
			r.look(i)
			dirty = false
		}
		if flush {
			flushes++
		}
		dirty = r.apply(e) || dirty
	}
	r.look(len(r.entries))
	r.t.Logf("seed %d: %d requests, %d flushes; states that read as each of the versions: %v", seed, len(r.entries), flushes, r.read)
	if r.last != len(r.want)-1 || slices.Contains(r.read, 0) || slices.Contains(r.sevenZ, false) {
		r.t.Errorf("the last state reads as %s; seen by 7zz: %v", r.shows[r.last], r.sevenZ)
	}
}

// apply carries out a request; false when it is none of the volume.
func (r *replay) apply(e logEntry) bool {
	if e.length == 0 || e.flags&logDiscard != 0 || e.offset < r.part.Start || e.offset+e.length > r.part.Start+r.part.Size {
		return false
	}
	b := make([]byte, e.length)
	if _, err := r.log.ReadAt(b, e.at); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.volume.WriteAt(b, e.offset-r.part.Start); err != nil {
		r.t.Fatal(err)
	}
	return true
}

// look checks one state.
func (r *replay) look(i int) {
	r.t.Helper()
	if out, err := exec.Command("ntfsresize", "-i", "-f", r.volume.Name()).CombinedOutput(); err != nil {
		r.t.Errorf("before request %d: ntfsresize: %v\n%s", i, err, out)
	}
	chain, err := r.volume.chain()
	if err != nil {
		r.t.Fatalf("before request %d: %v", i, err)
	}
	n := r.shown(i, chain)
	if n < r.last {
		r.t.Errorf("before request %d: %s again", i, r.shows[n])
	}
	r.look7z(i, n, chain.Files())
	r.last = n
	r.read[n]++
}

// shown says which of the raw images a chain shows, byte for byte.
func (r *replay) shown(i int, chain *vhdx.Chain) int {
	r.t.Helper()
	have := make([]byte, len(r.want[0]))
	if n, err := chain.ReadAt(have, 0); n < len(have) || chain.Size() != int64(n) {
		r.t.Fatalf("before request %d: %d of %d bytes: %v", i, n, chain.Size(), err)
	}
	n := slices.IndexFunc(r.want, func(want []byte) bool { return bytes.Equal(have, want) })
	if n < 0 {
		r.t.Fatalf("before request %d: the disk is a mixture", i)
	}
	return n
}

// look7z lets 7zz read some states: the first of each version, and the last. It replays no logs, so
// they must be empty.
func (r *replay) look7z(i, n int, chain []*vhdx.File) {
	r.t.Helper()
	for _, f := range chain {
		if f.LogPending() {
			return
		}
	}
	if r.sevenZ[n] && i < len(r.entries) {
		return
	}
	r.sevenZ[n] = true
	if _, err := testlab.VolumeHolds(r.t.Context(), r.volume.Name(), r.shows[n]); err != nil {
		r.t.Errorf("before request %d: 7zz, %s: %v", i, r.shows[n], err)
	}
}

// complete checks that the log holds every write: carried out it makes the very volume that the PC
// has.
func (r *replay) complete(pc *testlab.PC) {
	r.t.Helper()
	final := filepath.Join(r.t.TempDir(), "final")
	if err := testlab.CutVolume(r.t.Context(), pc.Disk, final); err != nil {
		r.t.Fatal(err)
	}
	a, err := os.ReadFile(final)
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := os.ReadFile(r.volume.Name())
	if err != nil {
		r.t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		r.t.Error("the log, carried out, does not make the volume that the PC has")
	}
}
