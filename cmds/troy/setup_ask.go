package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"troy/image"
	"troy/image/source"
	"troy/image/trust/sign"
	"troy/image/unattend"
	"troy/internal/cli"
	"troy/server/web"
)

// defaultImage is how the first image is called.
const defaultImage = "win11"

// askKeys asks where the admin key is, or is to be.
func (u *settingUp) askKeys(ctx context.Context) (err error) {
	switch {
	case u.found.repo != nil:
	case u.found.signed:
		u.keys.folder, err = u.ask(u.keys.dir(), "folder with this store's admin.key and trusted.json (plug in the stick and mount it)", none, u.ownKeys)
	default:
		u.keys.folder, err = u.askStick()
	}
	if err != nil {
		return err
	}
	return u.lookInside(ctx)
}

// ownKeys takes the folder of the keys of the store.
func (u *settingUp) ownKeys(folder string) (string, error) {
	if folder == none {
		return "", fmt.Errorf("the keys of %s were not found: --keys names their folder, such as that on your stick", cli.Clean(u.place.store))
	}
	repo, err := u.openKeys(folder)
	if err != nil {
		return "", u.otherKeys(folder, err)
	}
	u.found.repo = repo
	return folder, nil
}

// otherKeys explains that keys do not fit the store: mostly they are those of another one.
func (u *settingUp) otherKeys(folder string, err error) error {
	if !errors.Is(err, sign.ErrDoubt) && !errors.Is(err, sign.ErrNoTrust) && !errors.Is(err, sign.ErrKey) {
		return trustFault(err)
	}
	return &cli.Fault{Err: fmt.Errorf("the keys in %s do not fit the store %s: %w", folder, u.place.store, err),
		Advice: "name the folder of this store's keys; if it is that one, 'troy key sign' shows what was changed in the store"}
}

// askStick offers sticks for new keys.
func (u *settingUp) askStick() (string, error) {
	byDefault := filepath.Join(u.place.store, "keys")
	mounted := u.mounted()
	if u.tty != nil && u.keys.dir() == "" {
		u.sayVolumes()
		if len(mounted) == 1 {
			byDefault = "1"
		}
	}
	return u.ask(u.keys.dir(), "folder for the admin key, on a stick if you can", byDefault, func(text string) (string, error) {
		if n, err := strconv.Atoi(text); err == nil {
			if n < 1 || n > len(mounted) {
				return "", fmt.Errorf("there is no stick number %d", n)
			}
			text = filepath.Join(mounted[n-1], stickFolder)
		}
		return u.newKeys(text)
	})
}

// mounted are the mount points of the sticks that keys can be put on.
func (u *settingUp) mounted() (paths []string) {
	for _, v := range u.found.volumes {
		if v.Mounted != "" {
			paths = append(paths, v.Mounted)
		}
	}
	return paths
}

// sayVolumes lists the sticks.
func (u *settingUp) sayVolumes() {
	fmt.Fprintf(u.Err, "\nThe admin key signs all that PCs take: whoever has it decides what they run. Keep it off this\nmachine, and a copy in a second place.\n")
	number := 0
	for _, v := range u.found.volumes {
		if v.Mounted == "" {
			fmt.Fprintf(u.Err, "     %s, %d MB, is not mounted: 'mount /dev/%s /mnt' in another terminal, then answer /mnt/%s\n", v.Device, v.Size/1e6, v.Device, stickFolder)
			continue
		}
		number++
		fmt.Fprintf(u.Err, "  %d  %s  (%s, %d MB free)\n", number, cli.Clean(filepath.Join(v.Mounted, stickFolder)), v.Device, v.Free/1e6)
	}
	if len(u.found.volumes) == 0 {
		fmt.Fprintln(u.Err, "No stick is plugged in.")
	}
}

// newKeys takes a folder that new keys can be put into.
func (u *settingUp) newKeys(folder string) (string, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	for _, name := range []string{"admin.key", "trusted.json"} {
		_, err := os.Lstat(filepath.Join(folder, name))
		if err == nil && !(name == "trusted.json" && begun(folder)) {
			return "", fmt.Errorf("%s holds the keys of another store (%s): name another folder", folder, name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return folder, canWrite(folder)
}

// askLogin asks who may sign in on the page.
func (u *settingUp) askLogin(context.Context) (err error) {
	if u.found.logins {
		u.login = none
		return nil
	}
	byDefault := none
	if u.tty != nil {
		if byDefault = who(); web.CheckName(byDefault) != nil {
			byDefault = "admin"
		}
	}
	if u.login, err = u.ask(u.login, "name of the person who may sign in on the page (none: nobody yet)", byDefault, loginName); err != nil || u.login == none {
		return err
	}
	if u.password, err = u.askPassword(u.passwordFile); err != nil {
		return err
	}
	return web.CheckPassword(u.password)
}

// loginName takes the name of a user, or none.
func loginName(name string) (string, error) { return name, web.CheckName(name) }

// askImage asks for the first image, and of a medium of Windows all that setup of Windows asks.
func (u *settingUp) askImage(ctx context.Context) (err error) {
	if len(u.found.images) > 0 || u.found.unsigned {
		u.file = none
		return nil
	}
	if u.tty != nil && u.file == "" {
		fmt.Fprintf(u.Err, "\nThe first image is made of an ISO of Windows (microsoft.com/software-download/windows11), or of a\ndisk: VHDX, VHD, VMDK, QCOW2, raw, images of Clonezilla, FOG, LINBO.\n")
	}
	if u.file, err = u.ask(u.file, "file of the first image (none: later)", none, func(path string) (string, error) { return u.imageFile(ctx, path) }); err != nil || u.file == none {
		return err
	}
	if u.image, err = u.ask(u.image, "name of the image", defaultImage, func(name string) (string, error) { return name, image.CheckName(name) }); err != nil {
		return err
	}
	return u.askWindows()
}

// imageFile takes a file that an image can be made of.
func (u *settingUp) imageFile(ctx context.Context, path string) (string, error) {
	if path == none {
		return none, nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if u.editions, err = u.publishing().tryFile(ctx, path); err != nil {
		return "", explain(err, "")
	}
	return path, nil
}

// askWindows asks which edition of a medium, and what its setup is to be answered.
func (u *settingUp) askWindows() error {
	list := u.editions
	if list == nil {
		return nil
	}
	_, err := u.windows.windows(u.allowed.Secrets)
	if err != nil {
		return err
	}
	byDefault := ""
	if len(list) > 1 && u.tty != nil && u.windows.edition == "" {
		for i := range list {
			fmt.Fprintln(u.Err, cli.Clean(list[i].String()))
		}
		i := slices.IndexFunc(list, func(e source.Edition) bool { return strings.EqualFold(e.ID, "Education") })
		byDefault = strconv.Itoa(list[max(i, 0)].Index)
	}
	if len(list) == 1 || u.tty == nil {
		u.edition, err = source.Choose(list, u.windows.edition, u.file)
	} else {
		_, err = u.ask(u.windows.edition, "edition, by its number or name", byDefault, func(text string) (string, error) {
			u.edition, err = source.Choose(list, text, u.file)
			return text, err
		})
	}
	if err != nil {
		return cli.Usagef("%v", err)
	}
	u.windows.edition = strconv.Itoa(u.edition.Index)
	if u.tty != nil && !u.windows.answered() {
		u.windows.answers, err = u.publishing().askAnswers(u.tty)(u.edition, u.edition.Check)
	} else if u.windows.answers != (unattend.Answers{}) {
		err = u.edition.Check(u.windows.answers)
	}
	return err
}

// askPassphrase asks for the passphrase of the admin key, and tries it.
func (u *settingUp) askPassphrase(context.Context) (err error) {
	repo := u.found.repo
	switch {
	case u.found.begun: // with the passphrase that was given then
		if repo, err = sign.Open(u.place.store, &sign.Options{Keys: u.keys.folder}); err != nil {
			return err
		}
	case repo == nil:
		return u.newPassphrase()
	case !u.signs():
		return nil
	}
	sealed, err := repo.Sealed()
	if err != nil || !sealed {
		return trustFault(err)
	}
	for tries := 1; ; tries++ {
		pass, err := u.keys.options(u.call).Passphrase()
		if err != nil {
			return err
		}
		if repo, err = sign.Open(u.place.store, &sign.Options{Keys: u.keys.folder, Passphrase: func() ([]byte, error) { return pass, nil }}); err != nil {
			return err
		}
		if err = repo.Unlock(); err == nil {
			u.keys.known = &pass
			return nil
		}
		if u.tty == nil || tries == 3 || u.keys.passphraseFile != "" || os.Getenv("TROY_PASSPHRASE") != "" {
			return trustFault(err)
		}
		fmt.Fprintf(u.Err, "%s\n", cli.Clean(err.Error()))
	}
}

// newPassphrase asks for that of a new key.
func (u *settingUp) newPassphrase() error {
	o := u.keys.options(u.call)
	ask := o.Passphrase
	if o.NewPassphrase != nil {
		ask = o.NewPassphrase
	}
	pass, err := ask()
	if err == nil {
		u.keys.known = &pass
	}
	return err
}

// hostOf is the host of the first URL of a list; "" = there is none.
func hostOf(urls []string) string {
	for _, s := range urls {
		if p, err := url.Parse(s); err == nil {
			return p.Hostname()
		}
	}
	return ""
}
