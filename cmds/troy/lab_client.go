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
)

// adminCall is a call that asks the server of a store; while none runs, the state file that it
// left.
type adminCall struct {
	*imageCall
	server, tokenFile string
	root              string
	named             bool // the server was named: no other will do

	client *api.Client
}

func newAdminCall(s *cli.Streams) *adminCall { return &adminCall{imageCall: newImageCall(s)} }

// withServer adds the flags that say which server.
func (a *adminCall) withServer(cmd *cobra.Command) *cobra.Command {
	fs := cmd.Flags()
	fs.StringVar(&a.server, "server", "", "base `URL` of the server (default: TROY_SERVER, else the one that serves the store)")
	fs.StringVar(&a.root, "root", "", "`file` with the root metadata of the server's store (troy key root), where the store is not here: it says which server to take")
	fs.StringVar(&a.tokenFile, "token-file", "", "`file` with the admin's token (default: TROY_TOKEN_FILE, else serve/token in the store)")
	return a.withStore(cmd)
}

// connect finds the server's address and token.
func (a *adminCall) connect(ctx context.Context) error {
	a.folder()
	folder := servedir.Of(a.dir)
	a.server = cmp.Or(a.server, os.Getenv("TROY_SERVER"))
	a.tokenFile = cmp.Or(a.tokenFile, os.Getenv("TROY_TOKEN_FILE"), folder.Token())
	token, err := readLine(a.tokenFile)
	if err != nil {
		return &cli.Fault{Err: err, Advice: "'troy serve' makes this file: --store names the folder that it serves"}
	}
	a.named = a.server != ""
	if !a.named {
		if a.server, err = folder.Address(); err != nil {
			return &cli.Fault{Err: err, Advice: "--server names the server"}
		}
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

func readLine(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
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
	if down == nil {
		err := f(a.client)
		if errors.Is(err, api.ErrDown) && !readOnly {
			err = &cli.Fault{Err: err, Fate: "it is not known whether it was done", Advice: "'troy status' shows it"}
		}
		return err
	}
	if errors.Is(down, tlskey.ErrPin) {
		return &cli.Fault{Err: down, Fate: "the token was not sent, nothing was changed", Advice: "'troy key servers' lists the servers to take: another program answers there, or this server's key is to be signed"}
	}
	if !errors.Is(down, api.ErrDown) {
		return down
	}
	if a.named { // the store here may be that of another server
		return &cli.Fault{Err: down, Fate: "nothing was changed", Advice: "without --server and TROY_SERVER, the store's own state file is used"}
	}
	local, err := api.OpenLocal(a.dir, readOnly)
	if err != nil {
		return &cli.Fault{Err: down, Fate: "nothing was changed", Advice: "the state file does not help either: " + err.Error()}
	}
	defer local.Close()
	a.Note("%s does not answer; this is from the state file", cli.Clean(a.server))
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
