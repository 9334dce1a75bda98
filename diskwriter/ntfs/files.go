package ntfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// FileInfo is one file or folder of the volume, as its MFT record describes it.
type FileInfo struct {
	Reference Reference
	// Parent and Name are those of its first name that is no DOS name.
	Parent    Reference
	Name      string
	Directory bool
	// Runs are the clusters of all that it holds outside its record, whatever stream it belongs to,
	// as the record claims: nothing tells that they are its own.
	Runs []Run
}

// Files calls visit for each file of the volume, in the order of the MFT, system files as well. It
// is for people who look at a volume, not for what is written: records that cannot be read are left
// out and counted. Those without a name, which NTFS keeps for later, are left out.
func (v *Volume) Files(ctx context.Context, visit func(*FileInfo) error) (unread int64, err error) {
	for rec := range v.mft.valid / int64(v.geo.RecordSize) {
		if err := ctx.Err(); err != nil {
			return unread, err
		}
		info, err := v.info(rec)
		switch {
		case errors.Is(err, ErrNotExist):
		case err != nil:
			unread++
		default:
			if err := visit(info); err != nil {
				return unread, err
			}
		}
	}
	return unread, nil
}

// NameOf returns the parent and the name of a file, as FileInfo has them.
func (v *Volume) NameOf(ref Reference) (parent Reference, name string, err error) {
	n, err := v.loadRef(ref)
	if err != nil {
		return 0, "", err
	}
	return n.firstName()
}

// Root is the folder of which all others are within.
func (v *Volume) Root() (Reference, error) {
	n, err := v.load(recordRoot)
	if err != nil {
		return 0, err
	}
	return n.ref, nil
}

// info reads one record; ErrNotExist: it is no file.
func (v *Volume) info(rec int64) (*FileInfo, error) {
	b, err := v.rawRecord(rec)
	if err != nil {
		return nil, err
	}
	// What is not in use, and what extends another record, is told before anything is checked: a
	// record that was never used says nothing else.
	le := binary.LittleEndian
	if le.Uint16(b[0x16:])&recordInUse == 0 || le.Uint64(b[0x20:]) != 0 {
		return nil, ErrNotExist
	}
	n, err := v.load(rec)
	if err != nil {
		return nil, err
	}
	info := &FileInfo{Reference: n.ref, Directory: n.flags&recordDirectory != 0}
	if info.Parent, info.Name, err = n.firstName(); err != nil {
		return nil, err
	}
	for _, a := range n.attrs {
		if a.resident {
			continue
		}
		runs, err := decodeRuns(a.pairs, a.highVCN-a.lowVCN+1, v.geo.Clusters)
		if err != nil {
			return nil, err
		}
		info.Runs = append(info.Runs, slices.DeleteFunc(runs, Run.Hole)...)
	}
	return info, nil
}

// firstName returns the first name of a file that is no DOS name.
func (n *inode) firstName() (Reference, string, error) {
	for _, a := range n.segments(attrFileName, "") {
		if !a.resident {
			continue
		}
		fn, err := parseFileName(a.value, n.what())
		if err != nil {
			return 0, "", err
		}
		if fn.space != 2 {
			return fn.parent, utf16String(fn.name), nil
		}
	}
	return 0, "", fmt.Errorf("%w: %s has no name", ErrNotExist, n.what())
}
