package testlab

import (
	"context"
	"os"
	"path/filepath"

	"troy/chainload/regf"
)

// MediumImage is the name of the image that PublishMedium publishes.
const MediumImage = "from-medium"

// PublishMedium publishes what an installation medium holds as version 1 of an image of its own, and
// returns its raw form. Its Windows has still to be set up.
func (l *Lab) PublishMedium(ctx context.Context, dir string) (raw string, err error) {
	windows := filepath.Join(dir, "content", "Windows")
	if err := l.fillMedium(windows); err != nil {
		return "", err
	}
	sources := filepath.Join(dir, "medium", "sources")
	if err := os.MkdirAll(sources, 0o755); err != nil {
		return "", err
	}
	iso, disk, raw := filepath.Join(dir, "Win11.iso"), filepath.Join(dir, "medium.vhdx"), filepath.Join(dir, "medium.raw")
	for _, c := range [][]string{
		{"wimlib-imagex", "capture", filepath.Dir(windows), filepath.Join(sources, "install.wim"), "Windows 11 Pro", "--image-property", "WINDOWS/ARCH=9", "--compress=none"},
		{"genisoimage", "-quiet", "-udf", "-allow-limited-size", "-o", iso, filepath.Dir(sources)},
	} {
		if err := run(ctx, c[0], c[1:]...); err != nil {
			return "", err
		}
	}
	for _, args := range [][]string{
		{"image", "import", "--store", l.Store, "--no-filter", "--size", "1", "--audit", MediumImage, iso},
		{"image", "export", "--store", l.Store, MediumImage, "1", disk},
		{"vhdx", "convert", "--to", "raw", disk, raw},
	} {
		if err := l.command(ctx, args...); err != nil {
			return "", err
		}
	}
	return raw, nil
}

func (l *Lab) fillMedium(windows string) error {
	registry := &regf.Key{Name: "ROOT", Flags: 4}
	registry.Make("Setup").Set("OOBEInProgress", regf.DWORD, regf.EncodeDWORD(1))
	hive, err := (&regf.Hive{Root: registry}).Marshal()
	if err != nil {
		return err
	}
	manager, err := os.ReadFile(l.bootManager())
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"Boot/EFI/bootmgfw.efi": manager, "System32/config/SYSTEM": hive, "Panther/setup.log": []byte("none yet"),
	} {
		path := filepath.Join(windows, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
