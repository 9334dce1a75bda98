package publish

import (
	"fmt"
	"os"
	"path/filepath"

	"troy/image"
	"troy/internal/durable"
)

// Init makes a store in dir, which must be empty or absent. It returns image.ErrExists otherwise.
func Init(dir string) (*image.Store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("%w: %s is not empty (it has %s); a store is made in an empty folder", image.ErrExists, dir, names[0].Name())
	}
	for _, d := range []string{"images", "objects", tmpName} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
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
