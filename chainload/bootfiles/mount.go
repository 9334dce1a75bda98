package bootfiles

import (
	"troy/chainload/esp"
	"troy/internal/errline"
)

// Mounted runs do with the ESP on the block device mounted for writing, by the kernel's vfat, and
// unmounts it, which writes all out. Modules vfat, nls_cp437 and nls_ascii must be loaded.
func Mounted(device string, do func(root string) error) error {
	v, err := esp.Open(device, "")
	if err != nil {
		return err
	}
	if err = v.MakeWritable(); err == nil {
		err = do(string(v.Root))
	}
	return errline.Join(err, v.Close())
}
