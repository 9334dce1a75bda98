package testlab

import (
	"context"

	"troy/internal/testing/fixture"
)

// PublishPair publishes two versions of a small disk with sectors of that size and boot files in
// it, as an image of its own.
func (l *Lab) PublishPair(ctx context.Context, dir, image string, sector int, seed uint64) (*fixture.Windows, error) {
	w, err := fixture.MakeSmallPair(ctx, dir, l.bootManager(), bareDisk, sector, seed)
	if err != nil {
		return nil, err
	}
	pair, err := fixture.MakePair(dir, w)
	if err != nil {
		return nil, err
	}
	if err := l.image(ctx, "import", image, pair.Base); err != nil {
		return nil, err
	}
	return w, l.image(ctx, "add", image, pair.Child)
}
