package install

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"troy/chainload/bcd"
	"troy/chainload/bootfiles"
	"troy/chainload/secureboot"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/pcdisk"
)

// storePath is where Windows Boot Manager looks for its BCD store on the ESP.
const storePath = "EFI/Microsoft/Boot/BCD"

// BootStore makes the BCD store that boots \Troy\boot.vhdx of a disk with these partitions, as the
// ESP of a new disk needs it.
func BootStore(table *blockdev.Table) (pcdisk.BootFile, error) {
	esp, data := table.ByType(blockdev.TypeESP)[0], table.ByType(blockdev.TypeBasicData)[0]
	store, err := bcd.New(bcd.VHD{Disk: table.DiskGUID, Partition: data.GUID, Path: bcd.DefaultPath}, esp.GUID)
	if err != nil {
		return pcdisk.BootFile{}, err
	}
	b, err := store.Marshal()
	return pcdisk.BootFile{Path: storePath, Data: b}, err
}

// BootFiles takes the boot files of Windows out of a version. sector is the size of its logical
// sectors. Errors: those of bootfiles.Load.
func BootFiles(disk io.ReaderAt, size int64, sector int, firmware *secureboot.Firmware) ([]pcdisk.BootFile, error) {
	set, err := bootfiles.Load(disk, size, sector, firmware)
	if err != nil {
		return nil, err
	}
	var files []pcdisk.BootFile
	for _, f := range set.Files {
		files = append(files, pcdisk.BootFile{Path: f.Path, Data: f.Data})
	}
	return files, nil
}

// BootFolder reads the boot files of Windows from a folder, without the BCD store, which belongs to
// another machine. manager tells that Windows Boot Manager is among them.
func BootFolder(dir string) (files []pcdisk.BootFile, manager bool, err error) {
	managerPath := strings.ReplaceAll(strings.TrimPrefix(bcd.BootManagerPath, `\`), `\`, "/")
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if strings.HasPrefix(strings.ToLower(name), strings.ToLower(storePath)) {
			return nil
		}
		data, err := os.ReadFile(path)
		manager = manager || strings.EqualFold(name, managerPath)
		files = append(files, pcdisk.BootFile{Path: name, Data: data})
		return err
	})
	return files, manager, err
}
