package testlab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"troy/chainload/regf"
)

// MediumImage is the name of the image that PublishMedium publishes.
const MediumImage = "from-medium"

// PublishMedium publishes what an installation medium holds as version 1 of an image of its own, on
// a disk of 128 MiB. It returns its raw form, and the folder that was on the medium. Its Windows
// has still to be set up.
func (l *Lab) PublishMedium(ctx context.Context, dir string, seed uint64) (raw, content string, err error) {
	content = filepath.Join(dir, "content")
	if err := l.fillMedium(filepath.Join(content, "Windows"), seed); err != nil {
		return "", "", err
	}
	sources := filepath.Join(dir, "medium", "sources")
	if err := os.MkdirAll(sources, 0o755); err != nil {
		return "", "", err
	}
	iso := filepath.Join(dir, "Win11.iso")
	for _, c := range [][]string{
		{"wimlib-imagex", "capture", content, filepath.Join(sources, "install.wim"), "Windows 11 Pro", "--image-property", "WINDOWS/ARCH=9", "--compress=none"},
		{"genisoimage", "-quiet", "-udf", "-allow-limited-size", "-o", iso, filepath.Dir(sources)},
	} {
		if err := run(ctx, c[0], c[1:]...); err != nil {
			return "", "", err
		}
	}
	raw, err = l.PublishFile(ctx, MediumImage, iso, "--size", "0.125", "--audit")
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

// fillMedium makes a Windows whose setup has still to ask its questions.
func (l *Lab) fillMedium(windows string, seed uint64) error {
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
	files := map[string][]byte{"Boot/EFI/bootmgfw.efi": manager, "System32/config/SYSTEM": hive, "Panther/setup.log": []byte("none yet"), "System32/winload.efi": []byte("MZ loader")}
	noise := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	for i := range 20 {
		data := make([]byte, 1+noise.Uint64()%(1<<20))
		noise.Read(data)
		files[fmt.Sprintf("System32/file%d.bin", i)] = data
	}
	for name, content := range files {
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
