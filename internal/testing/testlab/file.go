package testlab

import (
	"context"
	"path/filepath"
)

// PublishFile publishes a disk, or a medium, of any format as version 1 of an image of its own, by
// `troy image import` with further arguments. It returns what the store then holds, raw, beside the
// file.
func (l *Lab) PublishFile(ctx context.Context, image, file string, args ...string) (raw string, err error) {
	raw = file + ".exported.raw"
	if err := l.image(ctx, append([]string{"import", image, file}, args...)...); err != nil {
		return "", err
	}
	return raw, l.Export(ctx, l.Store, filepath.Join(l.Store, "keys"), image, "1", raw)
}
