package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"troy/image"
)

// ownedBy says which folder of another user's a command of root works in: that folder, and one whose
// owner it has to have. Commands with --store need not have it.
const ownedBy = "owned by"

// giveBack gives what root made in a store, or beside it, to the user whose store it is: the service
// has to read and renew it. In a store it is done whatever became of the command.
func giveBack(cmd *cobra.Command, failed bool) error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir, like := folderOf(cmd)
	if dir == "" || failed && cmd.Annotations[ownedBy] != "" {
		return nil
	}
	info, err := os.Stat(like)
	if err != nil {
		return nil // the command said so
	}
	st := info.Sys().(*syscall.Stat_t)
	if st.Uid == 0 {
		return nil
	}
	return giveTree(dir, int(st.Uid), int(st.Gid))
}

// folderOf is the folder that a command works in, and the one that has its owner; "" = none.
func folderOf(cmd *cobra.Command) (dir, like string) {
	args := cmd.Flags().Args()
	if at := cmd.Annotations[ownedBy]; at != "" && len(args) > 0 {
		dir = args[len(args)-1]
		return dir, filepath.Join(dir, at)
	}
	f := cmd.Flags().Lookup("store")
	if f == nil {
		return "", ""
	}
	dir = cmp.Or(f.Value.String(), os.Getenv("TROY_STORE"), ".")
	if _, err := image.OpenStore(dir); err != nil {
		return "", ""
	}
	return dir, dir
}

// giveTree gives all below a folder to a user. No link is followed, and a file with several names is
// nobody's to give.
func giveTree(dir string, uid, gid int) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if int(st.Uid) == uid || info.Mode().IsRegular() && st.Nlink > 1 {
			return nil
		}
		return root.Lchown(path, uid, gid)
	})
}
