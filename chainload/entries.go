package chainload

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"troy/chainload/bcd"
	"troy/chainload/efiboot"
	"troy/chainload/esp"
	"troy/diskwriter/blockdev"
	"troy/internal/errline"
	"troy/internal/guid"
)

// ErrFull says that the firmware has no room for another variable, and what helps. It is a note.
var ErrFull = errors.New("chainload: the firmware's store of boot entries is full: delete entries that are not needed in the firmware's setup, or reset its settings to the defaults")

// windowsLabel is the name of the entries that this package makes.
const windowsLabel = "Windows Boot Manager"

// ensureEntry finds or creates the boot entry of Windows. Where the firmware has no room for one,
// an entry that starts Windows Boot Manager by the default path of the same ESP will do.
func ensureEntry(v efiboot.Variables, o *Options, r *Result) error {
	n, created, err := efiboot.EnsureEntry(v, efiboot.Entry{
		Partition: efiboot.HardDrive(o.ESP), Path: bcd.BootManagerPath, Description: windowsLabel,
	})
	r.Entry, r.entryCreated = n, created
	switch {
	case err == nil:
		return nil
	case errors.Is(err, efiboot.ErrOrder): // it will do for BootNext
		r.note(err)
		return nil
	}
	other, why := defaultEntry(v, o)
	if other == nil {
		return errline.Join(err, why)
	}
	r.Entry = other.Number
	r.note(err)
	r.say("%s is used, which starts Windows by %s", other, esp.FallbackPath)
	return nil
}

// errNoDefault says why there is no other entry to use.
var errNoDefault = errors.New(esp.FallbackPath + " does not start Windows")

// defaultEntry is an entry that leads to Windows Boot Manager by the file that firmware starts by
// default; nil if there is none.
func defaultEntry(v efiboot.Variables, o *Options) (*efiboot.Found, error) {
	all, err := efiboot.Entries(v)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(f efiboot.Found) bool { return startsDefault(f.Option, o) })
	if i < 0 {
		return nil, nil
	}
	windows, err := defaultIsWindows(o)
	if err != nil || !windows {
		return nil, errline.Join(errNoDefault, err)
	}
	return &all[i], nil
}

// startsDefault tells whether an option starts this ESP's default file.
func startsDefault(l *efiboot.LoadOption, o *Options) bool {
	path, ok := l.On(o.ESP.GUID)
	return ok && (path == "" || strings.EqualFold(path, esp.FallbackPath))
}

// defaultIsWindows tells whether the ESP's default file is its Windows Boot Manager.
func defaultIsWindows(o *Options) (same bool, err error) {
	w, err := openESP(o)
	if err != nil {
		return false, err
	}
	defer func() { err = errline.Join(err, w.Close()) }()
	dir, err := w.Root.Sub(esp.FallbackDir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	have, err := dir.Read(esp.FallbackName, maxManager)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	manager, err := w.dir.Read(managerName, maxManager)
	return bytes.Equal(have, manager), err
}

// maxManager bounds what is read of a boot manager, in bytes.
const maxManager = 64 << 20

// removeDead removes entries that this project made and that lead nowhere any more: to a partition
// that no disk of this machine has, or where an earlier entry leads already. A machine that is
// provisioned anew gets an ESP with another GUID each time.
func removeDead(v efiboot.Variables, o *Options, r *Result) {
	all, err := efiboot.Entries(v)
	if err != nil {
		r.note(err)
		return
	}
	there := partitions(o, r)
	current, known := efiboot.BootCurrent(v)
	var dead []efiboot.Found
	seen := map[string]bool{}
	for _, f := range all {
		id, place := target(f.Option)
		if id.IsZero() {
			continue
		}
		again := seen[place]
		seen[place] = true
		kept := known && f.Number == current || o.AgentEntry != nil && f.Number == *o.AgentEntry
		if madeByUs(f.Option) && !kept && (again || there != nil && !slices.Contains(there, id)) {
			dead = append(dead, f)
		}
	}
	if len(dead) == 0 {
		return
	}
	var numbers []uint16
	var names []string
	for _, f := range dead {
		numbers, names = append(numbers, f.Number), append(names, f.String())
	}
	if err := efiboot.Remove(v, numbers); err != nil {
		r.note(err)
		return
	}
	r.say("removed boot entries that led nowhere or twice to the same: %s", strings.Join(names, ", "))
}

// target is the partition that an entry starts from, and with the file's name.
func target(l *efiboot.LoadOption) (id guid.GUID, place string) {
	for _, n := range l.Path {
		if hd, ok := n.HardDrive(); ok {
			id = hd.GUID
		}
	}
	path, _ := l.On(id)
	return id, id.String() + strings.ToLower(path)
}

// madeByUs tells whether an entry is one that this project makes, to the letter: a partition and a
// file, our name, and nothing behind. What Windows or firmware made or changed is theirs.
func madeByUs(l *efiboot.LoadOption) bool {
	if len(l.Path) != 2 || len(l.Rest) > 0 || len(l.OptionalData) > 0 {
		return false
	}
	_, disk := l.Path[0].HardDrive()
	path, file := l.Path[1].FilePath()
	if !disk || !file {
		return false
	}
	switch l.Description {
	case windowsLabel:
		return path == bcd.BootManagerPath
	case esp.AgentLabel, esp.AgentLabelB:
		return strings.HasPrefix(path, agentPath)
	}
	return false
}

// partitions are the GUIDs of all partitions of this machine's disks; nil where a disk cannot be
// read: then nothing counts as gone.
func partitions(o *Options, r *Result) []guid.GUID {
	list := o.partitions
	if list == nil {
		list = diskPartitions
	}
	all, err := list()
	if err != nil {
		r.note(fmt.Errorf("chainload: looking for the partitions that boot entries name: %w", err))
		return nil
	}
	return append(all, o.ESP.GUID)
}

func diskPartitions() (all []guid.GUID, err error) {
	disks, err := blockdev.Disks()
	if err != nil {
		return nil, err
	}
	for _, d := range disks {
		dev, err := blockdev.Open(d.Path, &blockdev.Options{ReadOnly: true})
		if err != nil {
			return nil, err
		}
		table, err := dev.ReadTable()
		dev.Close()
		if errors.Is(err, blockdev.ErrNoTable) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, p := range table.Partitions {
			all = append(all, p.GUID)
		}
	}
	return all, nil
}

// full adds what helps to errors of firmware that has no room.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return errline.Join(err, ErrFull)
	}
	return err
}
