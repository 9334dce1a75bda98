package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"troy/image"
	"troy/internal/cli"
	"troy/server/certs"
	"troy/server/servedir"
	"troy/server/web"
)

func certsCommand(s *cli.Streams) *cobra.Command {
	return group("certs", "manage the page's certificate", newCertsInit(s), newCertsRenew(s), newCertsShow(s))
}

// certsCall is one "certs init" or "certs renew".
type certsCall struct {
	*call
	names cli.List
}

func newCertsInit(s *cli.Streams) *cobra.Command {
	c := &certsCall{call: newCall(s)}
	cmd := leaf("init DIR", "create an authority for browsers, and the page's certificate", c.runInit)
	cmd.Annotations = map[string]string{ownedBy: ".."}
	cmd.Flags().Var(&c.names, "name", "`name` or IP address by which browsers reach the page, may be repeated (default: those of this machine)")
	return cmd
}

func (c *certsCall) runInit(_ context.Context, args []string) error {
	names := c.names
	if len(names) == 0 {
		names = certs.OwnNames()
	}
	if err := certs.Init(args[0], names, time.Now()); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "certificate of the page for %s\nserve with --certs %s; browsers have to trust %s\n",
		strings.Join(names, ", "), args[0], filepath.Join(args[0], certs.FileCA))
	return nil
}

func newCertsRenew(s *cli.Streams) *cobra.Command {
	c := &certsCall{call: newCall(s)}
	cmd := leaf("renew DIR", "renew the page's certificate if it is due or its names changed", c.runRenew)
	cmd.Annotations = map[string]string{ownedBy: ".."}
	cmd.Flags().Var(&c.names, "name", "`name` or IP address in place of those in the certificate, may be repeated")
	return cmd
}

func (c *certsCall) runRenew(_ context.Context, args []string) error {
	renewed, err := certs.Renew(args[0], c.names, time.Now())
	if err != nil {
		return err
	}
	if !renewed {
		fmt.Fprintln(c.Out, "nothing to renew")
		return nil
	}
	fmt.Fprintln(c.Out, "renewed; a server that runs takes it within an hour, or after a restart")
	return nil
}

func newCertsShow(s *cli.Streams) *cobra.Command {
	c := newCall(s)
	return leaf("show DIR", "show names and times of the certificates", c.showCerts)
}

func (c *call) showCerts(_ context.Context, args []string) error {
	pair, err := certs.Load(args[0])
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "names   %s\nvalid   %s to %s\nissuer  %s\n", strings.Join(certs.Names(pair.Leaf), ", "),
		pair.Leaf.NotBefore.Format(time.DateOnly), pair.Leaf.NotAfter.Format(time.DateOnly), pair.Leaf.Issuer.CommonName)
	return nil
}

// loginCall is one "login".
type loginCall struct {
	*call
	remove bool
	file   string
}

func loginCommand(s *cli.Streams) *cobra.Command {
	c := &loginCall{call: newCall(s)}
	cmd := leaf("login NAME STORE", "let a person sign in on the page", c.run)
	cmd.Annotations = map[string]string{ownedBy: "."}
	cmd.Long = "Let a person sign in on the status page of a store, or change the password."
	cmd.Flags().BoolVar(&c.remove, "remove", false, "remove the person")
	cmd.Flags().StringVar(&c.file, "password-file", "", "`file` whose first line is the password (default: you are asked)")
	return cmd
}

func (c *loginCall) run(_ context.Context, args []string) error {
	if _, err := image.OpenStore(args[1]); err != nil {
		return err
	}
	dir := servedir.Of(args[1])
	if err := dir.Make(); err != nil {
		return err
	}
	users, err := web.OpenUsers(dir.Users())
	if err != nil {
		return err
	}
	password := ""
	if !c.remove {
		if password, err = c.askPassword(c.file); err != nil {
			return err
		}
	}
	return users.Set(args[0], password)
}

// askPassword reads a new password from a file, or from the terminal, twice.
func (c *call) askPassword(file string) (string, error) {
	if file != "" {
		line, err := firstLine(file)
		return string(line), err
	}
	tty := c.terminal()
	if tty == nil {
		return "", cli.Usagef("there is no terminal to ask for the password: want --password-file FILE")
	}
	password, err := newSecret(tty, c.Err, "password: ", "repeat password: ", web.CheckPassword)
	return string(password), err
}
