//go:build unix

package vhdx

import (
	"errors"
	"syscall"
)

// isNoData recognises lseek's word for a hole that reaches the end.
func isNoData(err error) bool { return errors.Is(err, syscall.ENXIO) }
