//go:build !linux

package tool

import "syscall"

// ends is for Linux: elsewhere a program outlives this one if that is killed.
func ends() *syscall.SysProcAttr { return nil }
