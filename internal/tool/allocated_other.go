//go:build !unix

package tool

import "os"

// allocated is the size of a file; 0 for one that is not there.
func allocated(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}
