package ntfs

import (
	"encoding/binary"

	"troy/internal/guid"
)

// The header that volsnap keeps on a volume (libvshadow, "Volume Shadow Snapshot format"): its
// GUID, and where on the volume the catalog of the copies begins, 0 while there is none. Windows
// leaves the header behind when the last copy is deleted.
const (
	shadowHeader  = 0x1e00
	shadowCatalog = 0x30
)

var shadowGUID = guid.Must("3808876b-c176-4e48-b7ae-04046e6cc752")

// ShadowCopies tells whether the volume holds shadow copies (restore points, backups). They read
// what was not overwritten since they were made from the volume itself, also where $Bitmap says
// free.
func (v *Volume) ShadowCopies() (bool, error) {
	b := make([]byte, shadowCatalog+8)
	if int64(shadowHeader+len(b)) > v.geo.Clusters*int64(v.geo.ClusterSize) {
		return false, nil
	}
	if _, err := v.readFull(b, shadowHeader); err != nil {
		return false, err
	}
	return guid.GUID(b[:16]) == shadowGUID && binary.LittleEndian.Uint64(b[shadowCatalog:]) != 0, nil
}
