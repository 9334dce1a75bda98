//go:build !windows

package onwindows

import (
	"context"
	"errors"
	"runtime"
	"time"
)

// supported refuses what is no Windows. The rest of this file is never called after that.
func supported() error {
	return errors.New("this runs inside the Windows of a trial, and this is " + runtime.GOOS + "; nothing was done")
}

// Serve is what the service runs.
func Serve(ctx context.Context) error {
	if err := supported(); err != nil {
		return err
	}
	return started(ctx)
}

func drives() (cd, all []string)                     { return nil, nil }
func uptime() time.Duration                          { return 0 }
func setupAtWork() bool                              { return false }
func hostVolume() (volume, letter string, err error) { return "", "", supported() }
func volumeOf(string) string                         { return "" }
func pageFiles() ([]string, error)                   { return nil, supported() }
func openForWriting(string) error                    { return supported() }
func diskFull(error) bool                            { return false }
func makeService(string) error                       { return supported() }
