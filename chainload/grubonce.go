package chainload

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"troy/chainload/efiboot"
	"troy/chainload/esp"
	"troy/chainload/internal/grubenv"
	"troy/internal/errline"
)

// errNoGRUB says why GRUB cannot be asked to start Windows once.
var errNoGRUB = errors.New("chainload: no GRUB of ours is started first")

// agentPath is how paths of the agent's boot entries begin.
var agentPath = `\` + strings.ReplaceAll(esp.AgentDir, "/", `\`) + `\`

// grubOnce asks the GRUB in the agent's directory to start Windows once. It
// needs no variable of the firmware, but GRUB has to be what is started next.
func grubOnce(v efiboot.Variables, o *Options) (err error) {
	if !agentIsFirst(v, o) {
		return errNoGRUB
	}
	return editGRUB(o, func(dir esp.Dir, block []byte) error {
		next, err := grubenv.Set(block, grubenv.Next, grubenv.Windows)
		if err != nil {
			return err
		}
		if err := dir.Overwrite(grubenv.Name, next); err != nil {
			return err
		}
		back, err := dir.Read(grubenv.Name, grubenv.Size)
		if err == nil && !bytes.Equal(back, next) {
			err = fmt.Errorf("%s reads back different from what was written", grubenv.Name)
		}
		return err
	})
}

// editGRUB calls f with the agent's directory and GRUB's environment block,
// the ESP being writable.
func editGRUB(o *Options, f func(esp.Dir, []byte) error) (err error) {
	v, err := esp.Open(o.ESPDevice, o.espDir)
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, v.Close()) }()
	dir, block, err := readGRUB(v)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoGRUB, err)
	}
	if err := v.MakeWritable(); err != nil {
		return fmt.Errorf("%w: %w", ErrESP, err)
	}
	if err := f(dir, block); err != nil {
		return fmt.Errorf("%w: %w", ErrESP, err)
	}
	return nil
}

func readGRUB(v *esp.Volume) (esp.Dir, []byte, error) {
	dir, err := v.Root.Sub(esp.AgentDir)
	if err != nil {
		return "", nil, err
	}
	block, err := dir.Read(grubenv.Name, grubenv.Size)
	return dir, block, err
}

// agentIsFirst tells whether the firmware's first choice is a copy of the agent
// on this ESP. Entries that are switched off or not there are passed over, as
// the firmware does. The entry that led to the copy at this start will do so again:
// what is before it in the order was tried in vain.
func agentIsFirst(v efiboot.Variables, o *Options) bool {
	list, err := efiboot.InOrder(v)
	if err != nil || len(list) == 0 {
		return false
	}
	current, known := efiboot.BootCurrent(v)
	led := o.FromCopy && known && slices.ContainsFunc(list, func(f efiboot.Found) bool { return f.Number == current })
	return led || startsAgent(list[0].Option, o)
}

// startsAgent tells whether an option starts a copy of the agent on this ESP.
func startsAgent(l *efiboot.LoadOption, o *Options) bool {
	path, ok := l.On(o.ESP.GUID)
	return ok && len(path) > len(agentPath) && strings.EqualFold(path[:len(agentPath)], agentPath)
}
