package onwindows

import (
	"errors"
	"strings"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"troy/internal/errline"
)

// supported reports nothing: this is Windows. No dialog may ask for a disc from here on.
func supported() error {
	windows.SetErrorMode(windows.SEM_FAILCRITICALERRORS)
	return nil
}

// drives returns the roots of the drives with a letter: those for CDs, and all.
func drives() (cd, all []string) {
	mask, err := windows.GetLogicalDrives()
	if err != nil {
		return nil, nil
	}
	for i := range 26 {
		if mask>>i&1 == 0 {
			continue
		}
		root := string(rune('A'+i)) + `:\`
		name, err := windows.UTF16PtrFromString(root)
		if err != nil {
			continue
		}
		all = append(all, root)
		if windows.GetDriveType(name) == windows.DRIVE_CDROM {
			cd = append(cd, root)
		}
	}
	return cd, all
}

// uptime is how long Windows has been running.
func uptime() time.Duration { return windows.DurationSinceBoot() }

// setupAtWork reports whether the setup of Windows has not come to its end.
func setupAtWork() bool {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, `SYSTEM\Setup`, registry.QUERY_VALUE)
	if err != nil {
		return false
	}
	defer k.Close()
	for _, name := range []string{"SystemSetupInProgress", "OOBEInProgress"} {
		if n, _, err := k.GetIntegerValue(name); err == nil && n != 0 {
			return true
		}
	}
	return false
}

// hostVolume finds the volume with \Troy\base.vhdx, and its drive letter; "none": it has none.
func hostVolume() (volume, letter string, err error) {
	name := make([]uint16, windows.MAX_PATH)
	search, err := windows.FindFirstVolume(&name[0], uint32(len(name)))
	if err != nil {
		return "", "", err
	}
	defer func() { err = errline.Join(err, windows.FindVolumeClose(search)) }()
	for ; err == nil; err = windows.FindNextVolume(search, &name[0], uint32(len(name))) {
		volume := windows.UTF16ToString(name)
		if !exists(volume + `Troy\base.vhdx`) {
			continue
		}
		letter, err := letters(volume)
		return volume, letter, err
	}
	if errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		err = errors.New(`no volume has \Troy\base.vhdx`)
	}
	return "", "", err
}

func exists(path string) bool {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return false
	}
	_, err = windows.GetFileAttributes(name)
	return err == nil
}

// letters are the places where a volume is mounted, without slashes at their ends.
func letters(volume string) (string, error) {
	name, err := windows.UTF16PtrFromString(volume)
	if err != nil {
		return "", err
	}
	buffer, length := make([]uint16, 1024), uint32(0)
	if err := windows.GetVolumePathNamesForVolumeName(name, &buffer[0], uint32(len(buffer)), &length); err != nil {
		return "", err
	}
	var all []string
	for at := 0; at < len(buffer) && buffer[at] != 0; {
		path := windows.UTF16ToString(buffer[at:])
		all = append(all, strings.TrimSuffix(path, `\`))
		at += len(windows.StringToUTF16(path))
	}
	if len(all) == 0 {
		return "none", nil
	}
	return strings.Join(all, " "), nil
}

// volumeOf returns the GUID path of a mount point, and a GUID path as it is; "": there is none.
func volumeOf(mount string) string {
	if mount == "" || strings.HasPrefix(mount, `\\?\`) {
		return mount
	}
	name, err := windows.UTF16PtrFromString(mount)
	if err != nil {
		return ""
	}
	volume := make([]uint16, 64)
	if windows.GetVolumeNameForVolumeMountPoint(name, &volume[0], uint32(len(volume))) != nil {
		return ""
	}
	return windows.UTF16ToString(volume)
}

// pageFiles are the paths of the page files in use.
func pageFiles() ([]string, error) {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, `SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management`, registry.QUERY_VALUE)
	if err != nil {
		return nil, err
	}
	defer k.Close()
	files, _, err := k.GetStringsValue("ExistingPageFiles")
	if errors.Is(err, registry.ErrNotExist) {
		return nil, nil
	}
	return files, err
}

// openForWriting opens a file as a service would that shares it with all others, and closes it.
func openForWriting(path string) error {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return err
	}
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	h, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE, share, nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		return err
	}
	return windows.CloseHandle(h)
}

// diskFull reports whether an error means that the volume is full.
func diskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
