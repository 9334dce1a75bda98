package chainload

import (
	"errors"
	"io/fs"

	"troy/chainload/internal/grubenv"
)

// MaxDirect is how many starts in a row GRUB gives to Windows without the agent.
const MaxDirect = grubenv.MaxMade

// TakeDirect takes back that GRUB may start Windows without the agent (AllowDirect), and tells how
// often it has begun to since the last hand-off. It is called before anything is written to the
// machine's disk: from then on the next start is the agent's, whatever cuts this one off. A block
// that cannot be believed allows nothing, and tells of no start.
//
// Of the options the ESP is used. The error wraps ErrESP: then GRUB may still be allowed to.
func TakeDirect(o *Options) (made int, err error) {
	err = o.onGRUB(func(block []byte) ([]byte, error) {
		made = directMade(block)
		return taken(block)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return made, err
}

// AllowDirect lets GRUB start Windows without the agent at the next MaxDirect starts (package
// selfboot). It is the last thing before Reset: what the agent has to do first is done then, and the
// hand-off is in the journal. HandOff has set the count to 0.
//
// Of the options the ESP is used. The error wraps ErrESP, or fs.ErrNotExist where no copy of the
// agent is on the ESP.
func AllowDirect(o *Options) error { return o.onGRUB(allowed) }

// directMade is how many direct starts a block tells of.
func directMade(block []byte) int {
	count, err := grubenv.Get(block, grubenv.Made)
	if err != nil || len(count) != 1 || count[0] < '0' || count[0] > '0'+MaxDirect {
		return 0
	}
	return int(count[0] - '0')
}

// taken is a block that allows no direct start. The count stays.
func taken(block []byte) ([]byte, error) {
	if is, err := grubenv.Get(block, grubenv.Direct); err != nil || is != grubenv.Yes {
		return block, err
	}
	return grubenv.Set(block, grubenv.Direct, grubenv.No)
}

// allowed is a block that allows direct starts.
func allowed(block []byte) ([]byte, error) {
	block, err := grubenv.Set(block, grubenv.Made, "0")
	if err != nil {
		return nil, err
	}
	return grubenv.Set(block, grubenv.Direct, grubenv.Yes)
}

// forgotten is a block that orders nothing, and counts from 0.
func forgotten(block []byte) ([]byte, error) {
	for _, v := range [][2]string{{grubenv.Next, ""}, {grubenv.Direct, grubenv.No}, {grubenv.Made, "0"}} {
		have, err := grubenv.Get(block, v[0])
		if err == nil && have != "" {
			block, err = grubenv.Set(block, v[0], v[1])
		}
		if err != nil {
			return nil, err
		}
	}
	return block, nil
}
