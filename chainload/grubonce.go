package chainload

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
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
func grubOnce(v efiboot.Variables, o *Options) error {
	if !agentIsFirst(v, o) {
		return errNoGRUB
	}
	err := o.onGRUB(func(block []byte) ([]byte, error) { return grubenv.Set(block, grubenv.Next, grubenv.Windows) })
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", errNoGRUB, err)
	}
	return err
}

// onGRUB has change change GRUB's environment block on the ESP.
func (o *Options) onGRUB(change func(block []byte) ([]byte, error)) (err error) {
	v, err := esp.Open(o.ESPDevice, o.espDir)
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, v.Close()) }()
	return changeGRUB(v, change)
}

// changeGRUB has change change GRUB's environment block, which is written in place, and only if it
// is another one then. One that is none any more is made again. The error wraps fs.ErrNotExist where
// no copy of the agent is on the ESP, or ErrESP.
func changeGRUB(v *esp.Volume, change func(block []byte) ([]byte, error)) error {
	dir, have, err := readGRUB(v)
	block := have
	switch {
	case errors.Is(err, grubenv.ErrCorrupt):
		block = grubenv.New()
	case err != nil:
		return err
	}
	next, err := change(block)
	if err != nil || bytes.Equal(next, have) {
		return err
	}
	if err := v.MakeWritable(); err != nil {
		return fmt.Errorf("%w: %w", ErrESP, err)
	}
	write := dir.Overwrite
	if len(have) != grubenv.Size {
		write = dir.Write
	}
	if err = write(grubenv.Name, next); err == nil {
		have, err = dir.Read(grubenv.Name, grubenv.Size)
	}
	if err == nil && !bytes.Equal(have, next) {
		err = fmt.Errorf("%s reads back different from what was written", grubenv.Name)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrESP, err)
	}
	return nil
}

// readGRUB reads the environment block; the error wraps grubenv.ErrCorrupt if it is none.
func readGRUB(v *esp.Volume) (esp.Dir, []byte, error) {
	dir, err := v.Root.Sub(esp.AgentDir)
	if err != nil {
		return "", nil, err
	}
	block, err := dir.Read(grubenv.Name, grubenv.Size)
	if errors.Is(err, esp.ErrTooLong) {
		return dir, nil, fmt.Errorf("%w: %w", grubenv.ErrCorrupt, err)
	}
	if err == nil {
		_, err = grubenv.Get(block, grubenv.Next)
	}
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
