package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"troy/image"
	"troy/image/trust"
	"troy/internal/cli"
	"troy/server/certs"
	"troy/server/servedir"
)

// serversCall is one "key servers".
type serversCall struct {
	*keyCall
	add, next, remove, urls cli.List
}

// ownKey stands for the key of the server that serves the store.
const ownKey = "own"

func newKeyServers(s *cli.Streams) *cobra.Command {
	c := &serversCall{keyCall: newKeyCall(s)}
	cmd := leaf("servers", "list or sign which servers machines take", c.run)
	cmd.Long = `List the servers that machines take, or sign another list. Machines know a server by its key,
which 'troy serve' prints, and by nothing else. A server that was moved or replaced is added; a key
that is removed is refused from then on. --next names the key of a server that will serve later:
machines take it at once, so that nothing has to be signed on that day.`
	fs := cmd.Flags()
	fs.Var(&c.add, "add", "the `KEY` of a server in force ("+ownKey+": that of the server of this store), may be repeated")
	fs.Var(&c.urls, "url", "with one --add or --next: a `URL` at which machines reach it, in place of those before, may be repeated")
	fs.Var(&c.next, "next", "the `KEY` of a server that does not serve yet, may be repeated")
	fs.Var(&c.remove, "remove", "a `KEY` that machines refuse from now on, may be repeated")
	return c.withJSON(c.withKeys(cmd))
}

func (c *serversCall) run(ctx context.Context, _ []string) error {
	if len(c.urls) > 0 && len(c.add)+len(c.next) != 1 {
		return cli.Usagef("--url belongs to one --add or --next")
	}
	if err := c.open(); err != nil {
		return err
	}
	list, err := c.repo.Servers(ctx)
	if err != nil {
		return err
	}
	if len(c.add)+len(c.next)+len(c.remove) == 0 {
		return c.show(list)
	}
	servers, err := c.changed(list)
	if err != nil {
		return err
	}
	if err := c.repo.SetServers(ctx, c.store, servers, time.Now()); err != nil {
		return trustFault(err)
	}
	if list, err = c.repo.Servers(ctx); err != nil {
		return err
	}
	return c.show(list)
}

// changed is the list that the flags ask for.
func (c *serversCall) changed(list *trust.Servers) (servers []trust.Server, err error) {
	if list != nil {
		servers = slices.Clone(list.Servers)
	}
	put := func(keys []string, next bool) error {
		for _, key := range keys {
			if key, err = c.named(key); err != nil {
				return err
			}
			servers = putServer(servers, trust.Server{Key: key, URLs: c.urls, Next: next})
		}
		return nil
	}
	if err := put(c.add, false); err != nil {
		return nil, err
	}
	if err := put(c.next, true); err != nil {
		return nil, err
	}
	for _, key := range c.remove {
		if key, err = c.named(key); err != nil {
			return nil, err
		}
		n := len(servers)
		if servers = slices.DeleteFunc(servers, func(s trust.Server) bool { return s.Key == key }); len(servers) == n {
			return nil, fmt.Errorf("%w: no server has the key %s", image.ErrNotFound, key)
		}
	}
	if !slices.ContainsFunc(servers, func(s trust.Server) bool { return !s.Next }) {
		return nil, &cli.Fault{Err: errors.New("no server in force is left: machines would take none"), Fate: "the list is as it was", Advice: "--add the key of the server that replaces it"}
	}
	return servers, nil
}

// putServer adds a server to a list, or replaces it there. Without URLs it keeps those before.
func putServer(servers []trust.Server, e trust.Server) []trust.Server {
	i := slices.IndexFunc(servers, func(s trust.Server) bool { return s.Key == e.Key })
	if i < 0 {
		return append(servers, e)
	}
	if len(e.URLs) == 0 {
		e.URLs = servers[i].URLs
	}
	e.Unknown = servers[i].Unknown
	servers[i] = e
	return servers
}

// named is the key that a flag names.
func (c *serversCall) named(key string) (string, error) {
	if key != ownKey {
		return key, nil
	}
	return serverKey(c.dir)
}

// serverKey names the key of the server of a store; one that has none yet gets it.
func serverKey(store string) (string, error) {
	dir := servedir.Of(store)
	if err := dir.Make(); err != nil {
		return "", err
	}
	key, _, err := certs.LoadKey(dir.TLSKey())
	if err != nil {
		return "", err
	}
	return key.Name()
}

func (c *serversCall) show(list *trust.Servers) error {
	if list == nil {
		list = &trust.Servers{Servers: []trust.Server{}}
	}
	if c.json {
		return c.JSON(list)
	}
	if len(list.Servers) == 0 {
		fmt.Fprintln(c.Out, "no server is signed: machines take none")
	}
	for _, s := range list.Servers {
		fmt.Fprintf(c.Out, "%s %s", map[bool]string{false: "in force", true: "next    "}[s.Next], s.Key)
		for _, u := range s.URLs {
			fmt.Fprintf(c.Out, "  %s", cli.Clean(u))
		}
		fmt.Fprintln(c.Out)
	}
	return nil
}
