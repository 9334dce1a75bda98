package bundle

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"troy/internal/digest"
	"troy/internal/durable"
	"troy/internal/format"
)

// Bundle is an opened bundle; read only.
type Bundle struct {
	Manifest *Manifest
	dir      string
}

// Folder is where the bundle is: in the folder that somebody named, else in that of TROY_BUNDLE, else
// in Default.
func Folder(named string) string { return cmp.Or(named, os.Getenv("TROY_BUNDLE"), Default) }

// Open opens the bundle in a folder. The errors are ErrAbsent and ErrInvalid.
func Open(dir string) (*Bundle, error) {
	b, err := readAtMost(filepath.Join(dir, ManifestName), maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s", ErrAbsent, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	m, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	bundle := &Bundle{Manifest: m, dir: dir}
	for _, f := range m.Files {
		fi, err := os.Stat(bundle.path(f.Name))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if fi.Size() != f.Size || !fi.Mode().IsRegular() {
			return nil, fmt.Errorf("%w: %s has %d bytes, its %s says %d", ErrInvalid, bundle.path(f.Name), fi.Size(), ManifestName, f.Size)
		}
	}
	return bundle, nil
}

func (b *Bundle) path(name string) string { return filepath.Join(b.dir, name) }

// Read returns a file of the bundle, once it is what its hash says.
func (b *Bundle) Read(name string) ([]byte, error) {
	f, err := b.Manifest.file(name)
	if err != nil {
		return nil, err
	}
	data, err := readAtMost(b.path(name), f.Size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if sha256.Sum256(data) != f.SHA256 {
		return nil, fmt.Errorf("%w: %s is not the file of its %s: it is damaged, or of another bundle", ErrInvalid, b.path(name), ManifestName)
	}
	return data, nil
}

// Write makes a bundle of files in a folder: what m says, with Files filled in. An older bundle
// there is not one any more until all is written.
func Write(dir string, m *Manifest, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, ManifestName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	Kind.Stamp(&m.Head)
	m.Files = nil
	for _, name := range Names() {
		data := files[name]
		m.Files = append(m.Files, File{Name: name, Size: int64(len(data)), SHA256: digest.Sum(sha256.Sum256(data))})
		if err := durable.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	if err := m.check(); err != nil {
		return err
	}
	text, err := format.Marshal(m)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, ManifestName), append(text, '\n'), 0o644)
}

func readAtMost(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return data, err
}
