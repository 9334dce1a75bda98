package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"troy/image"
	"troy/internal/durable"
)

// Init makes a store in dir, which must be absent, empty, or hold what an Init that was cut left. It
// returns image.ErrExists otherwise.
func Init(dir string) (*image.Store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	if err := Vacant(dir); err != nil {
		return nil, err
	}
	for _, d := range folders {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("image: %w", err)
		}
	}
	b, err := image.Marker()
	if err != nil {
		return nil, err
	}
	err = durable.WriteFile(filepath.Join(dir, image.MarkerName), b, 0o644)
	if err == nil {
		err = durable.SyncDir(filepath.Dir(dir)) // the folder itself may be new
	}
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	return image.OpenStore(dir)
}

// folders are those of a new store.
var folders = []string{"images", "objects", tmpName}

// Vacant returns nil if Init can make a store in dir, image.ErrExists if it holds something else.
func Vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "."+image.MarkerName+".") { // its name was still to come
			continue
		}
		inside, err := os.ReadDir(filepath.Join(dir, e.Name()))
		if !slices.Contains(folders, e.Name()) || err != nil || len(inside) > 0 {
			return fmt.Errorf("%w: %s is not empty (it has %s); a store is made in an empty folder", image.ErrExists, dir, e.Name())
		}
	}
	return nil
}
