package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"troy/server/rooms/api"
	"troy/server/servedir"
)

// adminCall is a call that asks the server of a store; while none runs, the state file that it left.
type adminCall struct {
	*imageCall
	server, tokenFile string

	client *api.Client
}

func newAdminCall(c *call) *adminCall {
	a := &adminCall{imageCall: newImageCall(c)}
	a.fs.StringVar(&a.server, "server", os.Getenv("TROY_SERVER"), "base `URL` of the server (default: TROY_SERVER, else the one that serves the store)")
	a.fs.StringVar(&a.tokenFile, "token-file", os.Getenv("TROY_TOKEN_FILE"), "`file` with the admin's token (default: TROY_TOKEN_FILE, else serve/token in the store)")
	return a
}

// connect parses the command line and finds the server's address and token.
func (a *adminCall) connect(min, max int) ([]string, error) {
	args, err := a.parse(a.fs, min, max)
	if err != nil {
		return nil, err
	}
	folder := servedir.Of(a.dir)
	if a.tokenFile == "" {
		a.tokenFile = folder.Token()
	}
	token, err := readLine(a.tokenFile)
	if err != nil {
		return nil, &fault{err: err, advice: "'troy serve' makes this file: --store names the folder that it serves"}
	}
	if a.server == "" {
		if a.server, err = folder.Address(); err != nil {
			return nil, &fault{err: err, advice: "--server names the server"}
		}
	}
	a.client = api.NewClient(a.server, token)
	return args, nil
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
		return f(a.client)
	}
	if !errors.Is(down, api.ErrDown) {
		return down
	}
	local, err := api.OpenLocal(a.dir, readOnly)
	if err != nil {
		return &fault{err: down, fate: "nothing was changed", advice: "the state file does not help either: " + err.Error()}
	}
	defer local.Close()
	a.note("%s does not answer; this is from the state file", clean(a.server))
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
