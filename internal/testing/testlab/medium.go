package testlab

import (
	"context"
	"os"
	"path/filepath"

	"troy/internal/testing/medium"
)

// MediumImage is the name of the image that PublishMedium publishes.
const MediumImage = "from-medium"

// PublishMedium publishes what an installation medium holds as version 1 of an image of its own, on
// a disk of 128 MiB. It returns its raw form, and a folder with what was on the medium. Its Windows
// has still to be set up.
func (l *Lab) PublishMedium(ctx context.Context, dir string, seed uint64) (raw, content string, err error) {
	content = filepath.Join(dir, "content")
	o := &medium.Options{BootManager: l.bootManager(), Out: filepath.Join(dir, "Win11.iso"), Seed: seed}
	if err := o.Fill(content); err != nil {
		return "", "", err
	}
	if err := medium.Make(ctx, o); err != nil {
		return "", "", err
	}
	raw, err = l.PublishFile(ctx, MediumImage, o.Out, "--size", "0.125", "--audit")
	return raw, content, err
}

// PublishFile publishes a disk, or a medium, of any format as version 1 of an image of its own, by
// `troy image import` with further arguments. It returns what the store then holds, raw, beside the
// file.
func (l *Lab) PublishFile(ctx context.Context, image, file string, args ...string) (raw string, err error) {
	disk := file + ".exported.vhdx"
	raw = file + ".exported.raw"
	defer os.Remove(disk)
	if err := l.image(ctx, append([]string{"import", image, file}, args...)...); err != nil {
		return "", err
	}
	for _, args := range [][]string{
		{"image", "export", "--store", l.Store, image, "1", disk},
		{"vhdx", "convert", "--to", "raw", disk, raw},
	} {
		if err := l.command(ctx, args...); err != nil {
			return "", err
		}
	}
	return raw, nil
}
