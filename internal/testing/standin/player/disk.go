package player

import (
	"errors"
	"fmt"

	"troy/chainload/regf"
	"troy/chainload/setup"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/internal/block"
	"troy/internal/testing/dirtyflag"
	"troy/vhdx"
)

// Files of Windows, beside those of package inside.
const (
	loaderFile   = `\Windows\System32\winload.efi`
	hiveFolder   = `\Windows\System32\config\`
	systemHive   = hiveFolder + "SYSTEM"
	softwareHive = hiveFolder + "SOFTWARE"
)

// answerFiles are where setup looks for its answers.
var answerFiles = []string{`\Windows\Panther\Unattend\unattend.xml`, `\Windows\Panther\unattend.xml`, `\Windows\System32\Sysprep\unattend.xml`}

// disk is the disk of the PC.
type disk struct {
	o      *Options
	target *pcdisk.Target
	host   *blockdev.Partition // with the volume that has the \Troy\ files
	files  machine.Files
}

func openDisk(o *Options) (*disk, error) {
	t, err := pcdisk.Find(o.Disks)
	if err != nil {
		return nil, err
	}
	d := &disk{o: o, target: t}
	if err := d.mapFiles(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return d, nil
}

func (d *disk) mapFiles() (err error) {
	if d.host, err = d.target.Device.Partition(d.target.Data); err != nil {
		return err
	}
	if d.target.Judge().Condition == ntfs.Unclean {
		d.o.Say("the PC's own volume was not closed in order: it is repaired")
		if err := dirtyflag.Set(d.host, 0, false); err != nil {
			return err
		}
	}
	d.files, err = d.target.MapFiles()
	return err
}

// look tells why Windows does not come up from the chain, and writes nothing.
func (d *disk) look() error {
	chain, err := pcdisk.Chain(d.files)
	if err != nil {
		return err
	}
	v, err := findVolume(chain)
	if err != nil {
		return err
	}
	mark := make([]byte, 2)
	loader, err := v.OpenFile(loaderFile)
	if err == nil {
		err = block.ReadFull(loader, mark, 0)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", loaderFile, err)
	}
	if string(mark) != "MZ" {
		return fmt.Errorf("%s is no program", loaderFile)
	}
	pending, err := v.pending()
	if err != nil {
		return err
	}
	if !pending {
		return nil
	}
	for _, path := range answerFiles {
		if _, err := v.Lookup(path); err == nil {
			return nil
		}
	}
	return errors.New("setup has no answer file and waits for a person")
}

// volume is the one that Windows boots from, inside the chain. It is the storage of its files.
type volume struct {
	*ntfs.Volume
	chain *vhdx.Chain
	start int64
}

// errNoWindows: the chain holds no volume with a folder Windows.
var errNoWindows = errors.New("the chain holds no Windows")

func findVolume(chain *vhdx.Chain) (*volume, error) {
	list, err := blockdev.Volumes(chain, chain.Size(), int(chain.Files()[0].Metadata().LogicalSectorSize))
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		v := &volume{chain: chain, start: e.Start}
		if v.Volume, err = ntfs.Open(v, e.Size); err != nil {
			continue // another file system
		}
		if _, err := v.Lookup(`\Windows`); err == nil {
			return v, nil
		}
	}
	return nil, errNoWindows
}

// ReadAt implements io.ReaderAt.
func (v *volume) ReadAt(p []byte, off int64) (int, error) { return v.chain.ReadAt(p, v.start+off) }

// WriteAt implements io.WriterAt.
func (v *volume) WriteAt(p []byte, off int64) (int, error) { return v.chain.WriteAt(p, v.start+off) }

// Sync flushes the chain.
func (v *volume) Sync() error { return v.chain.Sync() }

// hive opens a hive for reading.
func (v *volume) hive(path string) (*regf.Reader, error) {
	f, err := v.OpenFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	h, err := regf.NewReader(f, f.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return h, nil
}

// pending tells whether setup still has to run. A hive that was not closed is no fault: Windows
// replays its logs.
func (v *volume) pending() (bool, error) {
	h, err := v.hive(systemHive)
	if err != nil {
		return false, err
	}
	pending, err := setup.PendingIn(h)
	if errors.Is(err, setup.ErrUnclosed) {
		err = nil
	}
	return pending, err
}

// text is a text in a hive; "" if it is not there.
func (v *volume) text(hive, key, name string) string {
	h, err := v.hive(hive)
	if err != nil {
		return ""
	}
	value, err := h.Value(key, name)
	if err != nil {
		return ""
	}
	text, err := value.Text()
	if err != nil {
		return ""
	}
	return text
}
