package prepare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"troy/agent/coldplug"
	"troy/diskwriter/pcdisk"
	"troy/internal/errline"
	"troy/trial/inside"
)

// Inside is init of the small Linux that writes to a trial's copy of a disk: it does what its
// initramfs says and switches the PC off. Anywhere else it returns at once.
func Inside() {
	if os.Getpid() != 1 {
		return
	}
	text, err := os.ReadFile(jobFile)
	if err != nil {
		return // init of something else, such as a container
	}
	fmt.Println("trial: init runs") // before it is taken for one that hangs
	end := guestDone
	if err := work(text); err != nil {
		end = guestFailed + strings.Join(strings.Fields(err.Error()), " ")
	}
	fmt.Println(end)
	_ = unix.IoctlSetInt(1, unix.TCSBRK, 1) // until the console has said it
	unix.Sync()
	err = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Println("power off:", err)
	select {} // the end of process 1 would be a panic of the kernel
}

// work does the job. A panic becomes its error.
func work(text []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	j := new(job)
	if err := json.Unmarshal(text, j); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.Background(), guestLimit)
	defer stop()
	if err := begin(ctx); err != nil {
		return err
	}
	device, err := findPartition(j.Start)
	if err != nil {
		return err
	}
	return pcdisk.Mounted(ctx, device, j.write)
}

// settled is how long nothing new may have come when the drivers count as loaded.
const settled = 100 * time.Millisecond

// begin makes the guest one in which programs run, and loads the drivers of its devices.
func begin(ctx context.Context) error {
	for _, fs := range []struct{ kind, at string }{{"devtmpfs", "/dev"}, {"sysfs", "/sys"}, {"proc", "/proc"}, {"tmpfs", "/tmp"}} {
		if err := os.MkdirAll(fs.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("none", fs.at, fs.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mounting %s: %w", fs.at, err)
		}
	}
	if err := os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"); err != nil {
		return err
	}
	drivers, err := coldplug.New()
	if err != nil {
		return err
	}
	_, err = drivers.Settle(ctx, settled)
	return err
}

// findPartition waits for the partition that begins at a byte of the disk.
func findPartition(start int64) (device string, err error) {
	const tries, pause = 100, 100 * time.Millisecond
	for range tries {
		list, err := filepath.Glob("/sys/class/block/*/start")
		if err != nil {
			return "", err
		}
		for _, file := range list {
			b, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			// The kernel counts sectors of 512 bytes, whatever the disk has.
			if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n*512 == start {
				return "/dev/" + filepath.Base(filepath.Dir(file)), nil
			}
		}
		time.Sleep(pause)
	}
	return "", fmt.Errorf("no partition begins at byte %d", start)
}

// write puts the files into a volume that is mounted.
func (j *job) write(root string) error {
	if j.Order != nil {
		troy, err := spell(root, inside.Folder)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(troy, 0o755); err != nil {
			return err
		}
		files, err := inside.OpenFiles(troy, j.Order)
		if err != nil {
			return err
		}
		if err := files.Close(); err != nil {
			return err
		}
	}
	for name, here := range j.Files {
		if err := overwrite(root, name, here); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// overwrite gives a file of the volume the content of one of the initramfs. One that is there keeps
// who may read it.
func overwrite(root, name, here string) error {
	b, err := os.ReadFile(here)
	if err != nil {
		return err
	}
	to, err := spell(root, name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return errline.Join(err, f.Close())
	}
	return errline.Join(f.Truncate(int64(len(b))), f.Sync(), f.Close())
}

// spell returns the path of a name of Windows below root, with the case of what is there: Linux
// tells case.
func spell(root, name string) (string, error) {
	at := root
	for part := range strings.SplitSeq(strings.Trim(name, `\`), `\`) {
		list, err := os.ReadDir(at)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		for _, e := range list {
			if strings.EqualFold(e.Name(), part) {
				part = e.Name()
				break
			}
		}
		at = path.Join(at, part)
	}
	return at, nil
}
