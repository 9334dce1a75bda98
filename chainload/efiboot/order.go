package efiboot

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"troy/internal/errline"
)

// category are the bits of an option that is no system to boot but a program, such as the firmware's
// setup (LOAD_OPTION_CATEGORY).
const category uint32 = 0x1f00

// InOrder returns the entries that the firmware tries by itself, in the order in which it does:
// those of BootOrder that are there, not switched off, and no programs of the firmware.
func InOrder(v Variables) ([]Found, error) {
	order, err := BootOrder(v)
	if err != nil {
		return nil, err
	}
	all, err := Entries(v)
	return slices.DeleteFunc(all, func(f Found) bool {
		return f.Option.Attributes&(Active|category) != Active || !slices.Contains(order, f.Number)
	}), err
}

// named is of how many entries OrderText tells the names.
const named = 3

// OrderText is BootOrder for people, in one line: the first entries with their names, of all the
// numbers.
func OrderText(v Variables) string {
	order, err := BootOrder(v)
	if err != nil {
		return err.Error()
	}
	all, err := Entries(v)
	if err != nil {
		return err.Error()
	}
	if len(order) == 0 {
		return "empty"
	}
	var words []string
	for _, n := range order {
		text := Name(n)
		i := slices.IndexFunc(all, func(f Found) bool { return f.Number == n })
		if i >= 0 && len(words) < named {
			text = all[i].String()
		}
		words = append(words, text)
	}
	return strings.Join(words, ", ")
}

// mostName bounds what is shown of a name, in characters.
const mostName = 40

// String is the number and the name of an entry.
func (f Found) String() string {
	return fmt.Sprintf("%s %.*q", Name(f.Number), mostName, f.Option.Description)
}

// Remove takes entries away: out of BootOrder first, so that no name is left without an entry, then
// the variables. Where the firmware takes no shorter BootOrder the variables go all the same, which
// makes room for it. The error wraps ErrRefused.
func Remove(v Variables, numbers []uint16) error {
	order, err := BootOrder(v)
	if err != nil {
		return err
	}
	gone := func(n uint16) bool { return slices.Contains(numbers, n) }
	less := slices.DeleteFunc(slices.Clone(order), gone)
	shorten := func() error {
		switch len(less) {
		case len(order):
			return nil
		case 0:
			return remove(v, "BootOrder")
		}
		return setBootOrder(v, less)
	}
	refused := shorten()
	var failed error
	for _, n := range numbers {
		failed = errline.Join(failed, remove(v, Name(n)))
	}
	if refused != nil {
		refused = shorten()
	}
	return errline.Join(failed, refused)
}

// remove takes a variable away, and looks whether it is gone.
func remove(v Variables, name string) error {
	if err := v.Set(name, attributes, nil); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if _, _, err := v.Get(name); !errors.Is(err, fs.ErrNotExist) {
		return errline.Join(fmt.Errorf("%w: %s was removed and is still there", ErrRefused, name), err)
	}
	return nil
}

// IsNetwork tells whether the option starts the machine from a network: its device path names a
// MAC, IP or URI (UEFI 2.10, 10.3.4).
func (o *LoadOption) IsNetwork() bool {
	return slices.ContainsFunc(o.Path, func(n Node) bool {
		return n.Type == typeMessaging && slices.Contains([]byte{subMAC, subIPv4, subIPv6, subURI}, n.SubType)
	})
}

// On tells whether the option starts something on a partition, and which file; "" is the one that
// firmware starts by default.
func (o *LoadOption) On(partition GUID) (path string, ok bool) {
	for _, n := range o.Path {
		if hd, is := n.HardDrive(); is {
			ok = hd.GUID == partition
		}
		if s, is := n.FilePath(); is {
			path += `\` + strings.Trim(s, `\`)
		}
	}
	return path, ok
}
