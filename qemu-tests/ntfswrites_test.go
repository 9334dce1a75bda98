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
	"testing"

	"troy/diskwriter"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/prepare"
	"troy/qemu-tests/lab"
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
	want    *versions
	lab     *lab.Lab
	last    int // version that was read last
	read    map[int]int
	sevenZ  int // states that 7zz is still to read
}

// Every write of a deployment with its merge is logged by QEMU. None on the NTFS partition is outside of the clusters of
// the \Troy\ files, none is in the structures of the parent, nothing is discarded; and in every prefix of the log the
// volume passes ntfsresize and the chain reads as version 1 or as version 2.
func TestNTFSWrites(t *testing.T) {
	small := small(t)
	server, err := small.Serve(t.Context(), "--merge", "now")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	pc, err := small.NewPC(t.Context(), "logged")
	if err != nil {
		t.Fatal(err)
	}
	r := newReplay(t, small, pc)
	if serial, err := pc.FromKernel(t.Context(), "troy.server=http://10.77.0.1:8080"); err != nil {
		t.Fatalf("%v\n%s", err, serial)
	}
	if rep := reported(t, server, 1); rep.Version != 2 || !hasPhase(rep, "merge") {
		t.Fatalf("report: %+v", rep)
	}
	if r.entries, err = readLog(r.log); err != nil {
		t.Fatal(err)
	}
	r.confined()
	r.prefixes()
	r.complete(pc)
}

// newReplay copies the volume and attaches the log.
func newReplay(t *testing.T, l *lab.Lab, pc *lab.PC) *replay {
	t.Helper()
	r := &replay{t: t, lab: l, last: 1, read: map[int]int{}, sevenZ: 3}
	pc.WriteLog = pc.Disk + ".log"
	path := pc.Disk + ".replay"
	var err error
	if r.log, err = os.Create(pc.WriteLog); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.log.Close() })
	if err := lab.CutVolume(t.Context(), pc.Disk, path); err != nil {
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
	if r.want, err = readVersions(l.Windows.V1, l.Windows.V2); err != nil {
		t.Fatal(err)
	}
	return r
}

// confined checks where the writes went.
func (r *replay) confined() {
	r.t.Helper()
	files, err := r.volume.files()
	if err != nil {
		r.t.Fatal(err)
	}
	owner := map[int64]string{} // by page of the volume
	for name, f := range files {
		claim(owner, name, f, int64(len(r.want.v1)))
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
	for _, name := range []string{prepare.LayerA, prepare.Boot, prepare.Base, prepare.Journal} {
		if pages[name] == 0 {
			r.t.Errorf("nothing was written to %s: the log is not whole", name)
		}
	}
}

// claim notes which pages a file may be written at: all of it, of the parent the payload only.
func claim(owner map[int64]string, name string, f *ntfs.MappedFile, virtual int64) {
	from, to := int64(0), f.Size()
	if name == prepare.Base {
		from = diskwriter.PayloadOffset(virtual)
		to = from + virtual
	}
	cluster, at := int64(f.Mapping().ClusterSize), int64(0)
	for _, run := range f.Runlist() {
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
	if os.Getenv("TROY_SOAK") != "" {
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
	r.t.Logf("seed %d: %d requests, %d flushes; states that read as each version: %v", seed, len(r.entries), flushes, r.read)
	if r.last != 2 || r.read[1] == 0 || r.read[2] == 0 || r.sevenZ > 0 {
		r.t.Errorf("the last state reads as version %d, %d states were left for 7zz", r.last, r.sevenZ)
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
	version, err := r.want.of(chain)
	if err != nil {
		r.t.Fatalf("before request %d: %v", i, err)
	}
	if version < r.last {
		r.t.Errorf("before request %d: version %d again", i, version)
	}
	r.look7z(i, version, chain.Files())
	r.last = version
	r.read[version]++
}

// look7z lets 7zz read some states: the first, the first of version 2, the last. It replays no logs, so they must be empty.
func (r *replay) look7z(i, version int, chain []*vhdx.File) {
	r.t.Helper()
	for _, f := range chain {
		if f.LogPending() {
			return
		}
	}
	if due := r.sevenZ == 3 || r.sevenZ == 2 && version == 2 || r.sevenZ == 1 && i == len(r.entries); !due {
		return
	}
	r.sevenZ--
	raw := r.lab.Windows.V1
	if version == 2 {
		raw = r.lab.Windows.V2
	}
	if _, err := lab.VolumeHolds(r.t.Context(), r.volume.Name(), raw); err != nil {
		r.t.Errorf("before request %d: 7zz, version %d: %v", i, version, err)
	}
}

// complete checks that the log holds every write: carried out it makes the very volume that the PC has.
func (r *replay) complete(pc *lab.PC) {
	r.t.Helper()
	final := filepath.Join(r.t.TempDir(), "final")
	if err := lab.CutVolume(r.t.Context(), pc.Disk, final); err != nil {
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
