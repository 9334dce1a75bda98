package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/cli"
	"troy/server/lab"
	"troy/server/servedir"
)

// initialising is one "init", and the first step of "setup". What is there already stays, so that it
// goes on where it was cut.
type initialising struct {
	*call
	keys keyFlags
	lab  string
	urls cli.List
}

func initCommand(s *cli.Streams) *cobra.Command {
	c := &initialising{call: newCall(s)}
	cmd := leaf("init DIR", "create a store and its keys", func(ctx context.Context, args []string) error {
		c.keys.approved = true
		return c.make(ctx, args[0])
	})
	cmd.Annotations = map[string]string{ownedBy: ".."}
	c.keys.define(cmd.Flags())
	cmd.Long = `Create a store, the admin key that signs it, the key of its server and a first lab.yaml with one
room: the first step of 'troy setup' alone. What is there already stays.
Run it on the server; else 'troy key servers' signs the key that 'troy serve' makes there.
With --keys on a stick the admin key never lies on the server.`
	cmd.Flags().Var(&c.urls, "url", "a `URL` at which machines reach the server, such as https://troy.example:8443, may be repeated (default: DHCP or the media name it)")
	cmd.Flags().StringVar(&c.lab, "lab", "", "`file` to write the first lab.yaml to (default: lab.yaml in the store); an existing one is kept")
	return cmd
}

// make makes what is not there yet.
func (c *initialising) make(ctx context.Context, dir string) error {
	store, err := c.store(dir)
	if err != nil {
		return err
	}
	repo, err := c.signed(dir)
	if err != nil {
		return err
	}
	if err := c.ownServer(ctx, store, repo); err != nil {
		return &cli.Fault{Err: err, Fate: "the store is made, but machines do not take its server", Advice: cmp.Or(keyAdvice(err), "run the command again")}
	}
	return c.firstLab(cmp.Or(c.lab, filepath.Join(dir, lab.FileName)))
}

// store makes the store, or opens it.
func (c *initialising) store(dir string) (*image.Store, error) {
	store, err := image.OpenStore(dir)
	if err == nil {
		fmt.Fprintf(c.Out, "store:     %s  (it is there)\n", cli.Clean(dir))
		return store, nil
	}
	if !errors.Is(err, image.ErrNotFound) {
		return nil, err
	}
	if store, err = publish.Init(dir); err == nil {
		fmt.Fprintf(c.Out, "made the store %s\n", cli.Clean(dir))
	}
	return store, err
}

// signed makes the keys and first signatures of a store, or opens them.
func (c *initialising) signed(dir string) (*sign.Repository, error) {
	repo, err := sign.Init(dir, time.Now(), c.keys.options(c.call))
	if err == nil {
		c.sayKeys(repo, dir)
		return repo, nil
	}
	if !errors.Is(err, sign.ErrExists) {
		return nil, &cli.Fault{Err: err, Fate: cli.Clean(dir) + " is a store, but not signed", Advice: "run the command again"}
	}
	there, oerr := sign.Open(dir, c.keys.options(c.call))
	if errors.Is(oerr, sign.ErrUnsigned) && !errors.Is(oerr, sign.ErrDoubt) { // the keys are those of another store
		return nil, &cli.Fault{Err: err, Fate: cli.Clean(dir) + " is a store, but not signed", Advice: "--keys names a folder without the keys of another store"}
	}
	if oerr == nil {
		_, oerr = there.Root()
	}
	if oerr != nil {
		return nil, trustFault(oerr)
	}
	fmt.Fprintf(c.Out, "admin key: %s  (it is there)\n", cli.Clean(there.KeyPath(sign.Admin)))
	return there, nil
}

// ownServer makes the key of the server of a store, and signs it with the URLs, if there are any.
func (c *initialising) ownServer(ctx context.Context, store *image.Store, repo *sign.Repository) error {
	key, err := serverKey(store.String())
	if err != nil {
		return err
	}
	list, err := repo.Servers(ctx)
	if err != nil {
		return err
	}
	done := "it is there"
	if !serverSigned(list, key, c.urls) {
		var servers []trust.Server
		if list != nil {
			servers = slices.Clone(list.Servers)
		}
		if err := repo.SetServers(ctx, store, putServer(servers, trust.Server{Key: key, URLs: c.urls}), time.Now()); err != nil {
			return err
		}
		done = "machines hear from DHCP or the media where it is"
		if len(c.urls) > 0 {
			done = "at " + cli.Clean(c.urls.String())
		}
	}
	fmt.Fprintf(c.Out, "TLS key:   %s  (of the server: %s; %s)\n", cli.Clean(servedir.Of(store.String()).TLSKey()), key, done)
	return nil
}

// serverSigned tells whether a list has a server in force, with these URLs if there are any.
func serverSigned(list *trust.Servers, key string, urls []string) bool {
	s := inForce(list, key)
	return s != nil && (len(urls) == 0 || slices.Equal(s.URLs, urls))
}

// inForce is the server with that key in a list, as machines know it now; nil: there is none.
func inForce(list *trust.Servers, key string) *trust.Server {
	if list == nil {
		return nil
	}
	i := slices.IndexFunc(list.Servers, func(s trust.Server) bool { return s.Key == key && !s.Next })
	if i < 0 {
		return nil
	}
	return &list.Servers[i]
}

// firstLab writes a lab.yaml with one room, unless there is one.
func (c *call) firstLab(path string) error {
	err := lab.WriteFirst(path)
	switch {
	case errors.Is(err, fs.ErrExist):
		fmt.Fprintf(c.Out, "rooms:     %s  (it exists and was kept)\n", cli.Clean(path))
		return nil
	case err != nil:
		return &cli.Fault{Err: err, Fate: "the store is made", Advice: "'troy lab init " + path + "' writes the file later"}
	}
	fmt.Fprintf(c.Out, "rooms:     %s  (one room, default; edit it as you need)\n", cli.Clean(path))
	return nil
}
