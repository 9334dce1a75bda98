package pcdisk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// run runs a tool to its end; its words go into the error.
func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return toolError(name, out, err)
}

func toolError(name string, out []byte, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%w: %s is not installed (Debian package %s)", ErrTool, name, packageOf(name))
	}
	return fmt.Errorf("%w: %s: %w: %s", ErrTool, name, err, strings.TrimSpace(string(out)))
}

// packageOf names the Debian package of a tool.
func packageOf(tool string) string {
	if tool == "mmd" || tool == "mcopy" {
		return "mtools"
	}
	return "ntfs-3g"
}

// Mounted runs do with the root directory of the NTFS volume in the image file,
// mounted by ntfs-3g for reading and writing; everything is written when it returns.
// The mount is made in a mount namespace of the ntfs-3g process, so it ends with that
// process whatever happens to this one; it is entered through /proc/PID/root.
func Mounted(ctx context.Context, image string, do func(root string) error) error {
	if err := makeFuseDevice(fuseDevice); err != nil {
		return toolError("ntfs-3g", nil, err)
	}
	point, err := os.MkdirTemp("", "ntfs-")
	if err != nil {
		return err
	}
	defer os.Remove(point)
	cmd := exec.CommandContext(ctx, "ntfs-3g", "-o", "no_detach,no_def_opts,silent", image, point)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	exited, err := start(cmd)
	if err != nil {
		return toolError("ntfs-3g", nil, err)
	}
	root := fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, point)
	if err := waitMounted(root, exited); err != nil {
		cmd.Process.Kill()
		return toolError("ntfs-3g", out.Bytes(), err)
	}
	err = do(root)
	// SIGTERM makes ntfs-3g unmount and write everything before it ends.
	cmd.Process.Signal(syscall.SIGTERM)
	if werr := <-exited; err == nil && werr != nil {
		err = toolError("ntfs-3g", out.Bytes(), werr)
	}
	return err
}

const (
	fuseDevice = "/dev/fuse"
	fuseMajor  = 10 // Documentation/admin-guide/devices.txt
	fuseMinor  = 229
)

// makeFuseDevice makes the node where it is missing: FUSE may be built into a kernel whose /dev is
// not the kernel's own.
func makeFuseDevice(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(fuseMajor, fuseMinor))); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make %s: %w", path, err)
	}
	return nil
}

// start starts cmd and returns a channel that tells its end. One thread is kept for
// it: Pdeathsig counts the death of the thread that started the process.
func start(cmd *exec.Cmd) (<-chan error, error) {
	started, exited := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if started <- err; err == nil {
			exited <- cmd.Wait()
		}
	}()
	return exited, <-started
}

// waitMounted waits until a FUSE file system stands at root.
func waitMounted(root string, exited <-chan error) error {
	const fuseMagic = 0x65735546
	deadline := time.After(30 * time.Second)
	for {
		var st unix.Statfs_t
		if unix.Statfs(root, &st) == nil && int64(st.Type) == fuseMagic {
			return nil
		}
		select {
		case err := <-exited:
			if err == nil {
				err = errors.New("ended before the volume was mounted")
			}
			return err
		case <-deadline:
			return errors.New("volume was not mounted in 30 s")
		case <-time.After(5 * time.Millisecond):
		}
	}
}
