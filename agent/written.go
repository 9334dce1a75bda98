package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sectorsWritten is the place of the count in /sys/block/DISK/stat (Documentation/block/stat.rst);
// its unit is 512 bytes whatever the disk's sectors are.
const sectorsWritten = 6

// diskWrites returns the bytes that the kernel has sent to the disk since it was found: what was
// really written, by whatever way. ok is false for an image file.
func diskWrites(path string) (bytes int64, ok bool) {
	b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(path), "stat"))
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(b))
	if len(fields) <= sectorsWritten {
		return 0, false
	}
	n, err := strconv.ParseInt(fields[sectorsWritten], 10, 64)
	return n * 512, err == nil
}
