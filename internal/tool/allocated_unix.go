//go:build unix

package tool

import "syscall"

// allocated is how many bytes of a file are no hole; 0 for one that is not there.
func allocated(path string) int64 {
	var st syscall.Stat_t
	if syscall.Stat(path, &st) != nil {
		return 0
	}
	return int64(st.Blocks) * 512
}
