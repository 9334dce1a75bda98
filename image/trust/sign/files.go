package sign

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"troy/internal/durable"
	"troy/internal/wait"
)

// lockFile waits until no other process holds the lock. It goes with the process, so that a killed
// one leaves none.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	for {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return func() { f.Close() }, nil
		}
		if err := wait.For(ctx, 20*time.Millisecond); err != nil {
			f.Close()
			return nil, err
		}
	}
}

// absent returns nil if nothing has the path, ErrExists if something has, and the error where that
// cannot be told: a stick that cannot be read is not one without keys.
func absent(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return fmt.Errorf("%w: %s", ErrExists, path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("trust: %w", err)
}

// writeFile puts a file at path, whole and durable or not at all.
func writeFile(path string, b []byte, mode os.FileMode) error {
	if err := durable.WriteFile(path, b, mode); err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	return nil
}
