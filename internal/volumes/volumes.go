// Package volumes finds what somebody may have plugged in to put keys on: volumes of sticks, cards
// and disks on USB, mounted or not.
package volumes

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Volume is one that can be unplugged.
type Volume struct {
	Device  string // such as sdb1
	Mounted string // where; "" = nowhere
	Size    int64  // of the volume, in bytes
	Free    int64  // on its file system, if it is mounted
}

// Removable lists the volumes, by their devices. One that is mounted to be read only is left out.
func Removable() ([]Volume, error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer mounts.Close()
	return removable("/sys", mounts)
}

// removable is Removable for a sysfs and a table of mounts.
func removable(sys string, mounts io.Reader) ([]Volume, error) {
	at, err := mountPoints(mounts)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(sys, "class/block"))
	if err != nil {
		return nil, err
	}
	var list []Volume
	for _, e := range entries {
		dir, err := filepath.EvalSymlinks(filepath.Join(sys, "class/block", e.Name()))
		if err != nil || !unplugs(dir) || hasParts(dir) {
			continue
		}
		v := Volume{Device: e.Name(), Size: number(dir, "size") * 512}
		m, mounted := at[text(dir, "dev")]
		if v.Size == 0 || mounted && m.readOnly {
			continue // a reader without a card
		}
		if v.Mounted = m.path; mounted {
			var st syscall.Statfs_t
			if syscall.Statfs(v.Mounted, &st) == nil {
				v.Free = int64(st.Bavail) * st.Bsize
			}
		}
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b Volume) int { return strings.Compare(a.Device, b.Device) })
	return list, nil
}

// mount is where a volume is mounted first.
type mount struct {
	path     string
	readOnly bool
}

// octal is how the kernel writes blanks and the like in the table.
var octal = regexp.MustCompile(`\\[0-7]{3}`)

// mountPoints reads a table of mounts, by MAJOR:MINOR.
func mountPoints(r io.Reader) (map[string]mount, error) {
	at := map[string]mount{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text()) // ID PARENT MAJOR:MINOR ROOT POINT OPTIONS …
		if len(f) < 6 || f[3] != "/" {
			continue
		}
		if _, known := at[f[2]]; known {
			continue
		}
		path := octal.ReplaceAllStringFunc(f[4], func(s string) string {
			n, _ := strconv.ParseUint(s[1:], 8, 8) // three octal digits; a wrong one names no folder
			return string([]byte{byte(n)})
		})
		at[f[2]] = mount{path, slices.Contains(strings.Split(f[5], ","), "ro")}
	}
	return at, lines.Err()
}

// unplugs tells whether a disk, or the disk of a partition, is one that can be unplugged.
func unplugs(dir string) bool {
	if text(dir, "partition") != "" {
		dir = filepath.Dir(dir)
	}
	if strings.HasPrefix(filepath.Base(dir), "sr") { // a disc
		return false
	}
	return text(dir, "removable") == "1" || strings.Contains(dir, "/usb") || strings.Contains(dir, "/mmc_host/")
}

// hasParts tells whether a disk has partitions, which are volumes then.
func hasParts(dir string) bool {
	list, err := filepath.Glob(filepath.Join(dir, "*", "partition"))
	return err == nil && len(list) > 0
}

// text reads a file of sysfs; "" = it is not there.
func text(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func number(dir, name string) int64 {
	n, err := strconv.ParseInt(text(dir, name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
