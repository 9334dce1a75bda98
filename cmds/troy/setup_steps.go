package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"troy/image/publish"
	"troy/initramfs/media"
	"troy/internal/cli"
	"troy/internal/tlskey"
	"troy/internal/wait"
	"troy/server/protocol"
	"troy/server/rooms/api"
	"troy/server/servedir"
	"troy/server/web"
)

// step is one that setup takes, in the words of the plan.
type step struct {
	plan  string
	there bool // nothing to do
	do    func(context.Context) error
}

// steps are those that were asked for. Each has its own command, too.
func (u *settingUp) steps() []step {
	p := &u.place
	list := []step{{fmt.Sprintf("store %s, admin key in %s, server %s, rooms in %s", p.store, u.keys.dir(), u.url(), p.lab), u.complete(), u.makeStore}}
	if u.found.unsigned {
		list = append(list, step{"signatures for what an import that was cut left in the store", false, u.signLeft})
	}
	if u.found.logins {
		list = append(list, step{"login for the page", true, nil})
	} else if u.login != none {
		list = append(list, step{"login for the page: " + u.login, false, u.makeLogin})
	}
	if len(u.found.images) > 0 {
		list = append(list, step{"image " + u.found.images[0], true, nil})
	} else if u.file != none {
		list = append(list, step{fmt.Sprintf("image %s, of %s", u.image, u.file), false, u.makeImage})
	}
	if p.service && !u.noService {
		list = append(list, step{"service " + unitName + ", now and at each start of this machine", u.found.running && u.found.enabled && !u.signsServer(), u.startService})
	}
	list = append(list, step{"boot media in " + p.media, !u.makesMedia(), u.makeMedia})
	if boot := &p.options.around; p.service && !u.noService && u.netboot != netbootNo {
		list = append(list, step{"network boot: " + u.netboot, boot.boot != "" && boot.noDHCP == (u.netboot == netbootDHCP), u.startNetboot})
	}
	return list
}

// complete tells whether the first step has nothing to do.
func (u *settingUp) complete() bool {
	return u.found.repo != nil && !u.signsServer() && !missing(u.place.lab)
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// signsServer tells whether the list of servers has to be signed.
func (u *settingUp) signsServer() bool { return !slices.Equal(u.found.urls, []string{u.url()}) }

// signs tells whether the admin key is needed.
func (u *settingUp) signs() bool { return u.signsServer() || u.found.unsigned || u.file != none }

func (u *settingUp) makesMedia() bool { return !u.found.media || u.signsServer() }

// signing are the flags of the commands that sign: what they do has been agreed to.
func (u *settingUp) signing() keyFlags {
	k := u.keys
	k.approved, k.yes = true, true
	return k
}

func (u *settingUp) makeStore(ctx context.Context) error {
	c := &initialising{call: u.call, keys: u.signing(), lab: u.place.lab, urls: cli.List{u.url()}}
	return c.make(ctx, u.place.store)
}

func (u *settingUp) signLeft(ctx context.Context) error {
	k := &keySign{keyCall: &keyCall{imageCall: u.ofStore(), keys: u.keys}}
	return k.run(ctx, nil)
}

func (u *settingUp) makeLogin(context.Context) error {
	dir := servedir.Of(u.place.store)
	if err := dir.Make(); err != nil {
		return err
	}
	users, err := web.OpenUsers(dir.Users())
	if err != nil {
		return err
	}
	return users.Set(u.login, u.password)
}

// ofStore is a call on the store.
func (u *settingUp) ofStore() *imageCall { return &imageCall{call: u.call, dir: u.place.store} }

// publishing is the import of the first image.
func (u *settingUp) publishing() *publishing {
	return &publishing{imageCall: u.ofStore(), windows: u.windows, allowed: u.allowed, keys: u.signing(), o: publish.Options{Level: publish.DefaultLevel}}
}

func (u *settingUp) makeImage(ctx context.Context) error {
	return u.publishing().runImport(ctx, []string{u.image, u.file})
}

func (u *settingUp) makeMedia(ctx context.Context) error {
	m := &mediaCall{call: u.call, Options: media.Options{Bundle: u.bundle, Out: u.place.media, Config: &media.Config{Store: u.place.store, Keys: u.keys.dir()}}}
	return m.make(ctx)
}

// startService starts the package's service and waits until it answers as PCs need it.
func (u *settingUp) startService(ctx context.Context) error {
	var flags []string
	if u.listen != u.place.options.listen {
		flags = append(flags, "--listen="+u.listen)
	}
	if u.tlsListen != u.place.options.around.tlsListen {
		flags = append(flags, "--tls-listen="+u.tlsListen)
	}
	if u.place.lab != u.place.options.lab {
		flags = append(flags, "--lab="+u.place.lab)
	}
	return u.runService(ctx, flags, []string{"enable"}, []string{"restart"})
}

// startNetboot has the service answer PCs that start by the network.
func (u *settingUp) startNetboot(ctx context.Context) error {
	flags := []string{"--boot=" + filepath.Join(u.place.media, "net"), fmt.Sprintf("--no-dhcp=%t", u.netboot == netbootDHCP)}
	return u.runService(ctx, flags, []string{"restart"})
}

// runService sets options of the service, runs systemctl and waits until it answers.
func (u *settingUp) runService(ctx context.Context, flags []string, verbs ...[]string) error {
	if err := u.place.give(); err != nil {
		return err
	}
	if len(flags) > 0 {
		if err := setOptions(flags...); err != nil {
			return err
		}
	}
	for _, v := range verbs {
		if err := systemctl(v...); err != nil {
			return &cli.Fault{Err: err, Advice: "'journalctl -u " + unitName + "' says why; then run the command again"}
		}
	}
	if err := u.answers(ctx); err != nil {
		return &cli.Fault{Err: fmt.Errorf("the service runs, but does not answer: %w", err), Advice: "'troy doctor " + u.place.store + "' finds what is in the way; then run the command again"}
	}
	fmt.Fprintf(u.Out, "%s answers at %s\n", unitName, u.url())
	return nil
}

// answerTime is how long a service may take to answer.
const answerTime = 30 * time.Second

// answers waits until the server answers to the commands here and, with its own key, at its URL.
func (u *settingUp) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	key, err := serverKey(u.place.store)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: tlskey.Client(func() []string { return []string{key} }, nil), TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}
	defer client.CloseIdleConnections()
	for {
		err := api.NewLocalClient(servedir.Of(u.place.store)).Ping(ctx)
		if err == nil && !u.foreign {
			err = get(ctx, client, u.url()+"/"+protocol.PathHealth)
		}
		if err == nil || wait.For(ctx, time.Second/4) != nil {
			return err
		}
	}
}

// get asks for a page and wants it.
func get(ctx context.Context, c *http.Client, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := c.Do(r)
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(url + ": " + answer.Status)
	}
	return nil
}

// sayNext names the commands that come next.
func (u *settingUp) sayNext() {
	p, store := &u.place, " --store "+u.place.store
	fmt.Fprintf(u.Out, "\nSetup is complete. Next:\n")
	number := 0
	say := func(format string, args ...any) {
		number++
		fmt.Fprintf(u.Out, "  %d. %s\n", number, cli.Clean(fmt.Sprintf(format, args...)))
	}
	if u.noService || !p.service && !u.found.running {
		say("serve it: troy serve%s %s", u.serveFlags(), p.store)
	}
	name := defaultImage
	if len(u.found.images) > 0 {
		name = u.found.images[0]
	} else if u.file != none {
		name = u.image
	} else {
		say("make an image: troy image import%s --keys %s %s FILE", store, u.keys.dir(), name)
	}
	say("give it to the room: troy promote%s --room default %s@1", store, name)
	how := "write it to a stick: dd if=" + filepath.Join(p.media, "usb.img") + " of=/dev/STICK bs=4M conv=fsync"
	if u.netboot != netbootNo {
		how += " (or start PCs by the network)"
	}
	say("%s", how)
	say("start a PC, which shows a code: troy assign%s --room default CODE pc-01", store)
	if u.login != none {
		fmt.Fprintf(u.Out, "The page is at %s; %s can sign in.\n", u.url(), u.login)
	}
	fmt.Fprintf(u.Out, "Commands that sign need --keys %s (or TROY_KEYS).\n", cli.Clean(u.keys.dir()))
}

// serveFlags are those of troy serve that differ from its defaults.
func (u *settingUp) serveFlags() (flags string) {
	if u.listen != ":8080" {
		flags += " --listen " + u.listen
	}
	if u.tlsListen != ":8443" {
		flags += " --tls-listen " + u.tlsListen
	}
	if u.place.lab != filepath.Join(u.place.store, "lab.yaml") {
		flags += " --lab " + u.place.lab
	}
	if u.netboot != netbootNo {
		flags += " --boot " + filepath.Join(u.place.media, "net")
	}
	if u.netboot == netbootDHCP {
		flags += " --no-dhcp"
	}
	return flags
}
