package qemutests

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/vhdx"
)

// versions are two raw images in memory.
type versions struct{ v1, v2 []byte }

func readVersions(v1, v2 string) (v *versions, err error) {
	v = new(versions)
	if v.v1, err = os.ReadFile(v1); err != nil {
		return nil, err
	}
	v.v2, err = os.ReadFile(v2)
	return v, err
}

// of says which version a chain shows, byte for byte; anything else is an error.
func (v *versions) of(chain *vhdx.Chain) (int, error) {
	have := make([]byte, len(v.v1))
	if chain.Size() != int64(len(have)) {
		return 0, fmt.Errorf("the virtual disk has %d bytes, want %d", chain.Size(), len(have))
	}
	if _, err := chain.ReadAt(have, 0); err != nil && err != io.EOF {
		return 0, err
	}
	switch {
	case bytes.Equal(have, v.v1):
		return 1, nil
	case bytes.Equal(have, v.v2):
		return 2, nil
	}
	return 0, fmt.Errorf("the disk is a mixture: as version 1 up to byte %d, as version 2 up to byte %d", common(have, v.v1), common(have, v.v2))
}

// common returns how many bytes at the beginning are equal.
func common(a, b []byte) int {
	n := 0
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return n
}

// volumeFile is the NTFS volume in a file of its own.
type volumeFile struct {
	*os.File
	size int64
}

func openVolume(path string) (*volumeFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &volumeFile{f, info.Size()}, nil
}

// files maps the \Troy\ files.
func (v *volumeFile) files() (map[string]*ntfs.MappedFile, error) {
	volume, err := ntfs.Open(v, v.size)
	if err != nil {
		return nil, err
	}
	files := map[string]*ntfs.MappedFile{}
	for _, name := range append(pcdisk.Names(), pcdisk.Mailbox) {
		if files[name], err = volume.Map(v, pcdisk.Folder+name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// chain reads what Windows would see, by the volume's own account of where the files lie.
func (v *volumeFile) chain() (*vhdx.Chain, error) {
	m, err := v.files()
	if err != nil {
		return nil, err
	}
	file := func(name string) machine.File { return machine.File{Storage: m[name], Size: m[name].Size()} }
	return pcdisk.Chain(machine.Files{Base: file(pcdisk.Base), LayerA: file(pcdisk.LayerA), LayerB: file(pcdisk.LayerB), Boot: file(pcdisk.Boot)})
}
