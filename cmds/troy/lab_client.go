package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/cli"
	"troy/internal/tlskey"
	"troy/netfetch"
	"troy/server/protocol"
	"troy/server/rooms/api"
	"troy/server/servedir"
	"troy/server/state"
)

// adminCall is a call that asks the server of a store by its socket, or another one by TLS. While
// the store's own does not run, it works on the state file that it left.
type adminCall struct {
	*imageCall
	server, tokenFile string
	root              string

	client *api.Client
}

func newAdminCall(s *cli.Streams) *adminCall { return &adminCall{imageCall: newImageCall(s)} }

// withServer adds the flags that say which server.
func (a *adminCall) withServer(cmd *cobra.Command) *cobra.Command {
	fs := cmd.Flags()
	fs.StringVar(&a.server, "server", "", "base `URL` of a server elsewhere (default: TROY_SERVER, else the one that runs here and serves the store)")
	fs.StringVar(&a.root, "root", "", "with --server: `file` with the root metadata of its store (troy key root), where the store is not here: it says which server to take")
	fs.StringVar(&a.tokenFile, "token-file", "", "with --server: `file` with its token (troy token; default: TROY_TOKEN_FILE, else serve/token in the store)")
	return a.withStore(cmd)
}

// connect finds out which server to ask, and how.
func (a *adminCall) connect(ctx context.Context) error {
	a.folder()
	folder := servedir.Of(a.dir)
	if a.server = cmp.Or(a.server, os.Getenv("TROY_SERVER")); a.server == "" {
		a.client = api.NewLocalClient(folder)
		return nil
	}
	token, err := api.Token(cmp.Or(a.tokenFile, os.Getenv("TROY_TOKEN_FILE"), folder.Token())).Read()
	if err != nil {
		return &cli.Fault{Err: err, Fate: "nothing was sent to the server", Advice: "'troy token show' on the server prints its token: write it into a file, and name that by --token-file"}
	}
	keys, err := a.serverKeys(ctx)
	if err != nil {
		return &cli.Fault{Err: err, Fate: "nothing was sent to the server", Advice: "--store or --root says which server to take"}
	}
	a.client = api.NewClient(a.server, token, tlskey.Client(func() []string { return keys }, nil))
	return nil
}

// serverKeys are the keys by which the server is taken: those that the store here has signed, and
// that of its own server; or those that --root leads to, whoever hands over the metadata.
func (a *adminCall) serverKeys(ctx context.Context) ([]string, error) {
	if a.root == "" {
		repo, err := sign.Open(a.dir, nil)
		if err != nil {
			return nil, err
		}
		list, err := repo.ServedList()
		own, ownErr := serverKey(a.dir)
		if ownErr != nil {
			return list.Keys(), err
		}
		return append(list.Keys(), own), err
	}
	root, err := os.ReadFile(a.root)
	if err != nil {
		return nil, err
	}
	src, err := netfetch.NewHTTP(strings.TrimRight(a.server, "/")+"/"+protocol.PathRepo, &netfetch.HTTPOptions{TLS: tlskey.Unverified(), GiveUpAfter: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	store, _, err := trust.Pinned(ctx, src, time.Now(), &trust.PinnedOptions{Root: root,
		NotFound: func(err error) bool { return errors.Is(err, netfetch.ErrNotFound) }})
	if err != nil {
		return nil, err
	}
	return store.Servers().Keys(), nil
}

// look has f read what is known, from the server or from the state file.
func (a *adminCall) look(ctx context.Context, f func(api.Admin) error) error {
	return a.with(ctx, true, f)
}

// change has f change something, at the server or in the state file.
func (a *adminCall) change(ctx context.Context, f func(api.Admin) error) error {
	return a.with(ctx, false, f)
}

func (a *adminCall) with(ctx context.Context, readOnly bool, f func(api.Admin) error) error {
	down := a.client.Ping(ctx)
	switch {
	case down == nil:
		return lost(f(a.client))
	case errors.Is(down, tlskey.ErrPin):
		return &cli.Fault{Err: down, Fate: "the token was not sent, nothing was changed", Advice: "'troy key servers' lists the servers to take: another program answers there, or this server's key is to be signed"}
	case errors.Is(down, api.ErrStranger):
		return &cli.Fault{Err: down, Fate: "nothing was changed", Advice: "run the command as root, or as the user of the server"}
	case !errors.Is(down, api.ErrDown):
		return down
	case a.server != "": // the store here may be that of another server
		return &cli.Fault{Err: down, Fate: "nothing was changed", Advice: "without --server and TROY_SERVER, the store's own state file is used"}
	}
	return a.offline(down, readOnly, f)
}

// lost adds to an error that the server may have done what it was asked for.
func lost(err error) error {
	var known *cli.Fault
	if errors.Is(err, api.ErrLost) && !errors.As(err, &known) {
		err = &cli.Fault{Err: err, Fate: "it is not known whether it was done", Advice: "'troy status' and 'troy log' show it"}
	}
	return err
}

// offline has f work on the state file.
func (a *adminCall) offline(down error, readOnly bool, f func(api.Admin) error) error {
	local, err := api.OpenLocal(a.dir, readOnly)
	var damaged *state.DamagedError
	if errors.As(err, &damaged) {
		return &cli.Fault{Err: err, Fate: "nothing was changed", Advice: damaged.WayBack()}
	}
	if err != nil {
		return &cli.Fault{Err: down, Fate: "nothing was changed", Advice: "the state file does not help either: " + err.Error()}
	}
	defer local.Close()
	a.Note("the server does not run; this is from the state file")
	return f(local)
}

// who names the person at the keyboard for the record.
func who() string {
	for _, name := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		if s := os.Getenv(name); s != "" {
			return s
		}
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}
