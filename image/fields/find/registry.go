package find

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"troy/chainload/regf"
	"troy/diskwriter/ntfs"
	"troy/image"
	"troy/image/fields"
)

const (
	// wholeHive is the largest hive that is read whole, in bytes: looking around in it would be many
	// short reads of the disk.
	wholeHive = 64 << 20
	// maxNameRoom bounds what is overwritten for a name, in bytes. Windows has 36.
	maxNameRoom = 512
	// leastNameRoom is what the longest name needs.
	leastNameRoom = 2 * (fields.MaxName + 1)
)

// place is a value of a control set.
type place struct{ name, key, value string }

const tcpip = `Services\Tcpip\Parameters`

// nameValues are names of the machine. Windows makes Control\ComputerName\ActiveComputerName of the
// first at each start.
var nameValues = []place{
	{fields.ComputerName, `Control\ComputerName\ComputerName`, "ComputerName"},
	{fields.Hostname, tcpip, "Hostname"},
	{fields.NVHostname, tcpip, "NV Hostname"},
}

const netlogon = `Services\Netlogon\Parameters`

// numberValues are settings.
var numberValues = append([]place{
	{fields.ExpandOnMount, `Services\FsDepends\Parameters`, "VirtualDiskExpandOnMount"},
	{fields.Hiberboot, `Control\Session Manager\Power`, "HiberbootEnabled"},
	{fields.DisablePasswordChange, netlogon, "DisablePasswordChange"},
	{fields.MaximumPasswordAge, netlogon, "MaximumPasswordAge"},
}, storage()...)

// storageDrivers are those of the disk controllers that PCs have. Windows starts one of them early
// only where StartOverride lets it: on the PC on which it was installed.
var storageDrivers = []string{
	"storahci", "stornvme", "storufs", "iaStorA", "iaStorAC", "iaStorAV", "iaStorAVC", "iaStorV", "iaStorVD",
	"amdsata", "amdsbs", "amdxata", "rcraid", "nvraid", "nvstor", "msahci", "atapi", "pciide", "intelide",
}

func storage() (list []place) {
	for _, driver := range storageDrivers {
		list = append(list, place{fields.StorageStart, `Services\` + driver + `\StartOverride`, "0"})
	}
	return list
}

// registry adds the values of the hive SYSTEM.
func (f *finder) registry() {
	file := f.place(systemPath, "names and settings")
	if file == nil {
		return
	}
	hive, err := regf.Load(file, file.Size(), wholeHive)
	switch {
	case err != nil:
		f.note("no names and settings: %s: %v", systemPath, err)
		return
	case hive.Dirty():
		f.note("no names and settings: %s was not closed in order: shut Windows down fully ('shutdown /s /t 0')", systemPath)
		return
	}
	for _, set := range controlSets(hive) {
		var missing []string
		for _, p := range nameValues {
			if !f.value(file, hive, set, p, text) {
				missing = append(missing, p.name)
			}
		}
		if len(missing) > 0 {
			f.note("no %s: %s of SYSTEM has no such value", strings.Join(missing, ", "), set)
		}
		for _, p := range numberValues { // a Windows need not have them
			f.value(file, hive, set, p, number)
		}
	}
}

// controlSets returns the names of those that may start.
func controlSets(hive *regf.Reader) (sets []string) {
	for _, name := range []string{"Current", "Default", "LastKnownGood"} {
		v, err := hive.Value("Select", name)
		if err != nil {
			continue
		}
		if n, ok := v.Number(); ok && n >= 1 && n <= 999 {
			if set := fmt.Sprintf("ControlSet%03d", n); !slices.Contains(sets, set) {
				sets = append(sets, set)
			}
		}
	}
	if len(sets) == 0 {
		sets = []string{"ControlSet001"}
	}
	return sets
}

// maker makes a field of a place in the registry, or says why it is none.
type maker func(x *image.Field, p *regf.Place) error

// value adds a value of a control set, and tells whether the value is there.
func (f *finder) value(file *ntfs.PlacedFile, hive *regf.Reader, set string, p place, make maker) bool {
	key := set + `\` + p.key
	x := image.Field{Name: p.name, Where: key + `\` + p.value}
	at, err := hive.Place(key, p.value)
	if err == nil {
		err = make(&x, at)
	}
	switch {
	case err == nil:
		f.add(x, file, at.At, at.Room)
	case errors.Is(err, regf.ErrNotFound):
		return false
	default:
		f.note("no %s in %s: %v", x.Name, x.Where, err)
	}
	return true
}

// text makes a field of a name.
func text(x *image.Field, p *regf.Place) (err error) {
	x.Kind, x.SizeAt = image.FieldText, p.SizeAt
	switch {
	case p.Type != regf.SZ:
		return fmt.Errorf("it is of type %d, no text", p.Type)
	case p.SizeAt == 0 || p.Room < leastNameRoom:
		return fmt.Errorf("it has room for %d bytes, and a name needs up to %d", p.Room, leastNameRoom)
	case p.Room > maxNameRoom:
		return fmt.Errorf("it claims a room of %d bytes", p.Room)
	}
	x.Was, err = p.Text()
	return err
}

// number makes a field of a setting.
func number(x *image.Field, p *regf.Place) error {
	n, ok := p.Number()
	if !ok || p.SizeAt != 0 {
		return fmt.Errorf("it is of type %d with %d bytes, no number", p.Type, len(p.Data))
	}
	x.Kind, x.Was = image.FieldNumber, strconv.FormatUint(uint64(n), 10)
	return nil
}
