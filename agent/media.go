package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"troy/image/trust"
	"troy/internal/errline"
)

// mediaDir is where the initramfs holds what the admin gave to `troy media`.
const mediaDir = "/etc/troy"

// media is what the boot media carry besides programs. Everything may be absent.
type media struct {
	root    []byte    // TUF root metadata: whose signatures count
	servers []byte    // the list of servers that was signed when the media were made
	built   time.Time // when the media were made: no time before is believed
}

// released is the time used for media that do not say when they were made.
var released = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// readMedia reads what is there. The error names what is there and cannot be used; the rest is
// returned.
func readMedia(dir string) (media, error) {
	m := media{built: released}
	var errs []error
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		return b
	}
	m.root = read("root.json")
	if m.servers = read("servers.json"); m.servers != nil {
		if _, err := trust.ParseServers(m.servers); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", filepath.Join(dir, "servers.json"), err))
		}
	}
	if text := strings.TrimSpace(string(read("built"))); text != "" {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", filepath.Join(dir, "built"), err))
		} else {
			m.built = t
		}
	}
	return m, errline.Join(errs...)
}
