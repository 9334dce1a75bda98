package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"troy/internal/cli"
	"troy/server/rooms/api"
	"troy/server/servedir"
)

// tokenCommand returns the commands about the token for other machines.
func tokenCommand(s *cli.Streams) *cobra.Command {
	cmd := group("token", "show or replace the admin's token", newTokenShow(s), newTokenRotate(s))
	cmd.Long = `The commands that ask the server need no token on its own machine. On another machine they take
--server and a file with this token.`
	return cmd
}

func newTokenShow(s *cli.Streams) *cobra.Command {
	c := newImageCall(s)
	return c.withStore(leaf("show", "print the token", func(context.Context, []string) error {
		token, err := c.token().Read()
		if errors.Is(err, api.ErrNoToken) || errors.Is(err, api.ErrDamaged) {
			return &cli.Fault{Err: err, Advice: "'troy token rotate' makes one"}
		}
		if err == nil {
			fmt.Fprintln(c.Out, token)
		}
		return err
	}))
}

func newTokenRotate(s *cli.Streams) *cobra.Command {
	c := newImageCall(s)
	cmd := leaf("rotate", "replace the token", func(context.Context, []string) error {
		if err := c.open(); err != nil {
			return err
		}
		if err := servedir.Of(c.dir).Make(); err != nil {
			return err
		}
		token, err := c.token().Rotate()
		if err != nil {
			return explain(err, "the token before is in force")
		}
		fmt.Fprintln(c.Out, token)
		return nil
	})
	cmd.Long = "Make and print a token. The one before is refused from now on, also by a server that runs."
	return c.withStore(cmd)
}

// token is the file of the store.
func (c *imageCall) token() api.Token {
	c.folder()
	return api.Token(servedir.Of(c.dir).Token())
}
