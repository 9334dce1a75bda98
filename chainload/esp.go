package chainload

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"troy/chainload/esp"
	"troy/internal/errline"
)

// windowsFiles is the ESP, mounted, and its directory EFI\Microsoft\Boot in the
// case it has on disk.
type windowsFiles struct {
	*esp.Volume
	dir esp.Dir
}

// openESP mounts the ESP read only, or takes the folder where it is mounted.
func openESP(o *Options) (*windowsFiles, error) {
	v, err := esp.Open(o.ESPDevice, o.espDir)
	if err != nil {
		return nil, err
	}
	dir, err := v.Root.Sub(bootDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errline.Join(fmt.Errorf("%w: no folder \\%s", ErrNoBootFiles, strings.ReplaceAll(bootDir, "/", `\`)), v.Close())
	}
	if err != nil {
		return nil, errline.Join(fmt.Errorf("%w: %w", ErrESP, err), v.Close())
	}
	return &windowsFiles{Volume: v, dir: dir}, nil
}
