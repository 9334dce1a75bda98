package ntfs

import (
	"encoding/binary"
	"fmt"
	"io"

	"troy/internal/block"
)

// Fixed MFT record numbers.
const (
	recordMFT     = 0
	recordMFTMirr = 1
	recordLogFile = 2
	recordVolume  = 3
	recordRoot    = 5
	recordBitmap  = 6
	recordBoot    = 7
	recordSecure  = 9
	recordUpCase  = 10
)

// Volume is an NTFS volume opened for reading. It keeps nothing of the volume but
// where $MFT, $Bitmap and the system files lie, as they were when it was opened.
// Its methods may be called concurrently.
type Volume struct {
	r      io.ReaderAt
	geo    Geometry
	mft    *stream
	bitmap *stream
	upcase upcase
	system []Run // clusters of the system files, which no other file may own
}

// Open reads the boot sector and the system files of the volume in r, a partition of
// size bytes. It returns ErrBitLocker, ErrNotNTFS, ErrTooLarge or a FormatError.
func Open(r io.ReaderAt, size int64) (*Volume, error) {
	var b [bootSize]byte
	if n, err := r.ReadAt(b[:], 0); n < len(b) {
		return nil, fmt.Errorf("boot sector: %w", block.NoEOF(err))
	}
	geo, err := parseBoot(b[:], size)
	if err != nil {
		return nil, err
	}
	v := &Volume{r: r, geo: geo}
	if err := v.openMFT(); err != nil {
		return nil, err
	}
	n, err := v.load(recordBitmap)
	if err != nil {
		return nil, err
	}
	if v.bitmap, err = v.open(n, attrData, ""); err != nil {
		return nil, err
	}
	if v.bitmap.valid < (geo.Clusters+7)/8 {
		return nil, corrupt("$Bitmap", -1, "%d bytes for %d clusters", v.bitmap.valid, geo.Clusters)
	}
	v.upcase = v.loadUpcase()
	return v, v.findSystem()
}

// openMFT reads record 0 by the boot sector, then the rest of $MFT by record 0.
func (v *Volume) openMFT() error {
	b := make([]byte, v.geo.RecordSize)
	if _, err := v.readFull(b, v.geo.MFT*int64(v.geo.ClusterSize)); err != nil {
		return err
	}
	r, err := parseRecord(b, recordMFT)
	if err != nil {
		return err
	}
	n := &inode{record: *r}
	// What record 0 itself maps is enough to reach its extension records.
	segs := n.segments(attrData, "")
	if len(segs) == 0 || segs[0].resident || segs[0].lowVCN != 0 {
		return corrupt("$MFT", -1, "no $DATA in record 0")
	}
	runs, err := decodeRuns(segs[0].pairs, segs[0].highVCN+1, v.geo.Clusters)
	if err != nil {
		return fmt.Errorf("$MFT: %w", err)
	}
	if len(runs) == 0 || runs[0].LCN != v.geo.MFT {
		return corrupt("$MFT", -1, "record 0 does not lie where the boot sector says")
	}
	v.mft = v.newStream(runs, segs[0].size, segs[0].initialized)
	if n, err = v.load(recordMFT); err != nil {
		return err
	}
	v.mft, err = v.open(n, attrData, "")
	return err
}

// findSystem collects the clusters of $MFT, $MFTMirr, $LogFile, $Bitmap, $Boot.
func (v *Volume) findSystem() error {
	v.system = append(v.system, v.mft.runs...)
	v.system = append(v.system, v.bitmap.runs...)
	for _, rec := range []int64{recordMFTMirr, recordLogFile, recordBoot} {
		n, err := v.load(rec)
		if err != nil {
			return err
		}
		s, err := v.open(n, attrData, "")
		if err != nil {
			return err
		}
		v.system = append(v.system, s.runs...)
	}
	return nil
}

// Geometry returns what the boot sector says.
func (v *Volume) Geometry() Geometry { return v.geo }

// readFull reads all of p at volume offset off.
func (v *Volume) readFull(p []byte, off int64) (int, error) {
	n, err := v.r.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	return n, fmt.Errorf("read volume at %d: %w", off, block.NoEOF(err))
}

// rawRecord returns MFT record n as it stands on the disk.
func (v *Volume) rawRecord(n int64) ([]byte, error) {
	size := int64(v.geo.RecordSize)
	if n < 0 || n >= v.mft.valid/size {
		return nil, corrupt("$MFT", -1, "record %d of %d", n, v.mft.valid/size)
	}
	b := make([]byte, size)
	_, err := v.mft.ReadAt(b, n*size)
	return b, err
}

func (v *Volume) record(n int64) (*record, error) {
	b, err := v.rawRecord(n)
	if err != nil {
		return nil, err
	}
	return parseRecord(b, n)
}

// File is a file's content for reading: holes and bytes behind the valid length
// read as zeros.
type File struct{ *stream }

// Size returns the size of the content in bytes.
func (f *File) Size() int64 { return f.size }

// OpenFile opens the unnamed content of the file at path. Compressed and encrypted files, and those
// whose content lies elsewhere (a reparse point, as CompactOS makes them), return ErrUnsupported.
func (v *Volume) OpenFile(path string) (*File, error) {
	n, _, err := v.lookup(path)
	if err != nil {
		return nil, err
	}
	if _, ok := n.first(attrReparse); ok {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrReparse, ErrUnsupported)
	}
	s, err := v.open(n, attrData, "")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &File{s}, nil
}

// VolumeInfo is the content of $Volume.
type VolumeInfo struct {
	Major, Minor byte   // NTFS version, 3.1 since Windows XP
	Flags        uint16 // bit 0: dirty; Unclean names the others that matter
}

// Dirty reports whether Windows wants to check the volume (flags bit 0).
func (i VolumeInfo) Dirty() bool { return i.Flags&1 != 0 }

// Unclean returns the flags that announce work of Windows on the volume, in words. The others are
// set on volumes in good order: 0x80 on every one that Windows formats.
func (i VolumeInfo) Unclean() (reasons []string) {
	for _, f := range []struct {
		bit  uint16
		text string
	}{
		{0x0001, "dirty flag is set"},
		{0x0002, "$LogFile is to be resized"},
		{0x0004, "volume is to be upgraded"},
		{0x0020, "object ids are to be repaired"},
		{0x4000, "chkdsk is under way"},
		{0x8000, "chkdsk has changed the volume"},
	} {
		if i.Flags&f.bit != 0 {
			reasons = append(reasons, f.text)
		}
	}
	return reasons
}

// Info reads $Volume.
func (v *Volume) Info() (VolumeInfo, error) {
	n, err := v.load(recordVolume)
	if err != nil {
		return VolumeInfo{}, err
	}
	a, ok := n.first(attrVolumeInfo)
	if !ok || !a.resident || len(a.value) < 12 {
		return VolumeInfo{}, corrupt("$Volume", -1, "no $VOLUME_INFORMATION")
	}
	return VolumeInfo{a.value[8], a.value[9], binary.LittleEndian.Uint16(a.value[10:])}, nil
}

// firstFree returns the first cluster of the run that $Bitmap marks free, or -1.
func (v *Volume) firstFree(r Run) (int64, error) {
	buf := make([]byte, 64<<10)
	for lcn, end := r.LCN, r.LCN+r.Length; lcn < end; {
		base := lcn / 8
		b := buf[:min(int64(len(buf)), (end+7)/8-base)]
		if n, err := v.bitmap.ReadAt(b, base); n < len(b) {
			return 0, fmt.Errorf("$Bitmap: %w", block.NoEOF(err))
		}
		for ; lcn < end && lcn/8-base < int64(len(b)); lcn++ {
			c := b[lcn/8-base]
			if c == 0xff && lcn%8 == 0 && end-lcn >= 8 {
				lcn += 7
			} else if c>>(lcn%8)&1 == 0 {
				return lcn, nil
			}
		}
	}
	return -1, nil
}
