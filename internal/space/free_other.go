//go:build !linux

package space

import "math"

// Free returns how many bytes anybody may still write to the disk of a folder: here it is not
// asked.
func Free(string) (int64, error) { return math.MaxInt64, nil }
