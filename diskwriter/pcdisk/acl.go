package pcdisk

import (
	"fmt"

	"golang.org/x/sys/unix"

	"troy/internal/acl"
)

// aclAttribute is where ntfs-3g takes a whole security descriptor.
const aclAttribute = "system.ntfs_acl"

// protect lets only SYSTEM and Administrators have a file or folder: the journal holds the machine's
// key, and students could change what they boot.
func protect(path string, folder bool) error {
	if err := unix.Setxattr(path, aclAttribute, acl.Private(folder), 0); err != nil {
		return fmt.Errorf("%w: ntfs-3g does not take the access list of %s: %w", ErrTool, path, err)
	}
	return nil
}
