package sign

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"troy/image"
	"troy/image/trust/internal/tree"
	"troy/internal/errline"
)

// clear removes from the folder of a store the roots that follow no other, the lists of images and
// the releases of the agent that a state does not know. What else belongs to them is no longer
// named by anything.
func (r *Repository) clear(in *os.Root, st *state) error {
	if err := onlyFolders(in, tree.Folder, "images", tree.Agent); err != nil {
		return err
	}
	for n := st.root.Signed.Version + 1; ; n++ {
		err := in.Remove(tree.Folder + "/" + tree.Root(n))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
	}
	images, err := fs.ReadDir(in.FS(), "images")
	for _, e := range images {
		if name := image.IndexName(e.Name()); st.content.docs[name] == nil {
			err = errline.Join(err, gone(in.Remove(name)))
		}
	}
	releases, rerr := fs.ReadDir(in.FS(), tree.Agent)
	for _, e := range releases {
		name := path.Join(tree.Agent, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."), name == tree.Releases && st.content.docs[name] != nil:
		case e.IsDir() && st.content.docs[path.Join(name, "release.json")] != nil:
		default:
			err = errline.Join(err, gone(in.RemoveAll(name)))
		}
	}
	return errline.Join(err, gone(rerr))
}

// gone is nil for what is not there.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// onlyFolders makes folders where there is something else or nothing.
func onlyFolders(in *os.Root, names ...string) error {
	for _, name := range names {
		st, err := in.Lstat(name)
		if err == nil && st.IsDir() {
			continue
		}
		if err == nil {
			err = in.Remove(name)
		}
		if err := errline.Join(gone(err), in.Mkdir(name, 0o755)); err != nil {
			return err
		}
	}
	return nil
}

// putBack writes a document whole or not at all, unless it is there.
func putBack(in *os.Root, name string, b []byte) error {
	if have, err := in.ReadFile(name); err == nil && bytes.Equal(have, b) {
		return nil
	}
	part := path.Join(path.Dir(name), ".restore.part")
	err := in.MkdirAll(path.Dir(name), 0o755)
	if err == nil {
		err = gone(in.RemoveAll(part))
	}
	if err == nil {
		err = writeSynced(in, part, b)
	}
	if err == nil {
		err = in.Rename(part, name)
	}
	if err == nil {
		err = syncFolder(in, path.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("trust: putting %s back: %w", name, err)
	}
	return nil
}

func writeSynced(in *os.Root, name string, b []byte) error {
	f, err := in.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errline.Join(err, f.Sync(), f.Close())
}

func syncFolder(in *os.Root, name string) error {
	f, err := in.Open(name)
	if err != nil {
		return err
	}
	return errline.Join(f.Sync(), f.Close())
}
