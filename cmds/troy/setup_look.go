package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/initramfs/bundle"
	"troy/initramfs/media"
	"troy/internal/cli"
	"troy/internal/volumes"
	"troy/server/certs"
	"troy/server/rooms/api"
	"troy/server/servedir"
	"troy/server/web"
)

// found is what is there already.
type found struct {
	store    *image.Store     // nil: there is none
	repo     *sign.Repository // nil: its keys are still to be made, or have not been found
	signed   bool             // it has signatures
	begun    bool             // its keys have not got their names yet: to make them was cut
	urls     []string         // those of its server that are signed
	unsigned bool             // an import that was cut left a version without a signature
	images   []string
	logins   bool
	running  bool // it is being served
	enabled  bool // its service starts with the machine
	media    bool // newer than what they carry
	volumes  []volumes.Volume
}

// stickFolder is the folder for keys on a stick.
const stickFolder = "troy-keys"

// look finds out what is there.
func (u *settingUp) look(ctx context.Context) (err error) {
	f, dir := &u.found, u.place.store
	if f.volumes, err = volumes.Removable(); err != nil {
		u.Note("sticks cannot be listed: %v", err)
	}
	f.store, err = image.OpenStore(dir)
	if errors.Is(err, image.ErrNotFound) {
		if err := publish.Vacant(dir); err != nil {
			return &cli.Fault{Err: err, Advice: "--store names another folder"}
		}
		return nil
	}
	if err != nil {
		return err
	}
	if f.images, err = f.store.Images(); err != nil {
		return err
	}
	users, err := web.OpenUsers(servedir.Of(dir).Users())
	if err != nil {
		return err
	}
	f.logins = !users.Empty()
	f.running = api.NewLocalClient(servedir.Of(dir)).Ping(ctx) == nil
	f.enabled = u.place.service && exec.Command("systemctl", "is-enabled", "--quiet", unitName).Run() == nil
	return u.lookForKeys()
}

// lookForKeys looks for the folder of the keys of a store that is signed.
func (u *settingUp) lookForKeys() error {
	_, err := sign.Open(u.place.store, nil)
	if errors.Is(err, sign.ErrUnsigned) && !errors.Is(err, sign.ErrDoubt) {
		return nil
	}
	u.found.signed = true
	var why error
	for _, folder := range u.keyFolders() {
		if begun(folder) {
			u.keys.folder, u.found.signed, u.found.begun = folder, false, true
			return nil
		}
		repo, err := u.openKeys(folder)
		switch {
		case err == nil:
			u.keys.folder, u.found.repo = folder, repo
			return nil
		case why == nil || errors.Is(why, sign.ErrNoTrust):
			why = err
		}
	}
	if errors.Is(why, sign.ErrNoTrust) && u.keys.dir() == "" {
		return nil // it is asked where they are
	}
	return u.otherKeys(u.keyFolders()[0], why)
}

// keyFolders are those where the keys of a store may be.
func (u *settingUp) keyFolders() []string {
	if dir := u.keys.dir(); dir != "" {
		return []string{dir}
	}
	folders := []string{filepath.Join(u.place.store, "keys")}
	for _, v := range u.found.volumes {
		if v.Mounted != "" {
			folders = append(folders, filepath.Join(v.Mounted, stickFolder), v.Mounted)
		}
	}
	return folders
}

// openKeys opens the store by the keys in a folder, if they are its own.
func (u *settingUp) openKeys(folder string) (*sign.Repository, error) {
	repo, err := sign.Open(u.place.store, &sign.Options{Keys: folder})
	if err != nil {
		return nil, err
	}
	_, err = repo.Root()
	return repo, err
}

// begun tells whether keys were begun to be made in a folder, and not all is there.
func begun(folder string) bool {
	_, named := os.Stat(filepath.Join(folder, "admin.key"))
	_, unnamed := os.Stat(filepath.Join(folder, "admin.key.new"))
	return errors.Is(named, fs.ErrNotExist) && unnamed == nil
}

// lookInside reads what the keys make readable.
func (u *settingUp) lookInside(ctx context.Context) error {
	f := &u.found
	if f.repo == nil {
		return nil
	}
	list, err := f.repo.Servers(ctx)
	if err != nil {
		return trustFault(err)
	}
	if f.urls, err = ownURLs(u.place.store, list); err != nil {
		return err
	}
	var unasked *sign.UnaskedError
	if err := f.repo.Ready(ctx, f.store); errors.As(err, &unasked) {
		f.unsigned = true
	} else if err != nil && !errors.Is(err, sign.ErrKey) { // it is opened later
		return trustFault(err)
	}
	f.media = u.mediaThere()
	return nil
}

// ownURLs are the signed ones of the server of a store.
func ownURLs(store string, list *trust.Servers) ([]string, error) {
	path := servedir.Of(store).TLSKey()
	if _, err := os.Stat(path); err != nil || list == nil {
		return nil, nil
	}
	key, _, err := certs.LoadKey(path)
	if err != nil {
		return nil, err
	}
	name, err := key.Name()
	if err != nil {
		return nil, err
	}
	if s := inForce(list, name); s != nil {
		return s.URLs, nil
	}
	return nil, nil
}

// mediaThere tells whether all media are there, and newer than the root, the list of servers and the
// bundle that they carry.
func (u *settingUp) mediaThere() bool {
	metadata := filepath.Join(u.place.store, "metadata")
	carried := []string{filepath.Join(bundle.Folder(u.bundle), "manifest.json")}
	for _, pattern := range []string{"*.root.json", "targets/*.servers.json"} {
		paths, err := filepath.Glob(filepath.Join(metadata, pattern))
		if err != nil {
			return false
		}
		carried = append(carried, paths...)
	}
	var since time.Time
	for _, path := range carried {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(since) {
			since = info.ModTime()
		}
	}
	return media.Complete(u.place.media, since)
}
