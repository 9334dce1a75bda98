package bootfiles

import (
	"troy/chainload/esp"
	"troy/internal/errline"
)

// Mounted runs do with the ESP on the block device mounted by the kernel's vfat, read only until it
// calls writable, and unmounts it, which writes all out. Modules vfat, nls_cp437 and nls_ascii must
// be loaded.
func Mounted(device string, do func(root string, writable func() error) error) error {
	v, err := esp.Open(device, "")
	if err != nil {
		return err
	}
	return errline.Join(do(string(v.Root), v.MakeWritable), v.Close())
}
