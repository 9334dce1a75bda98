package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"troy/server/certs"
	"troy/server/netboot"
	"troy/server/servedir"
	"troy/server/web"
)

func certsCommand() command {
	return command{name: "certs", short: "certificates for TLS", sub: []command{
		{name: "init", args: "[--name NAME]… DIR", short: "make a certificate authority for the media, and the server's certificate", run: runCertsInit},
		{name: "renew", args: "[--name NAME]… DIR", short: "renew the server's certificate if it is due, or its names changed", run: runCertsRenew},
		{name: "show", args: "DIR", short: "show names and times of the certificates", run: runCertsShow},
	}}
}

func runCertsInit(_ context.Context, c *call) error {
	fs := c.flags()
	var names paths
	fs.Var(&names, "name", "`name` or IP address by which machines reach the server, may be given several times (default: name and addresses of this machine)")
	args, err := c.parse(fs, 1, 1)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		names = ownNames()
	}
	if err := certs.Init(args[0], names, time.Now()); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "certificate for %s\nserve with --certs %s; make media with --ca %s and --server https://%s:8443\n",
		strings.Join(names, ", "), args[0], filepath.Join(args[0], certs.FileCA), names[0])
	return nil
}

// ownNames are those by which machines may reach this one.
func ownNames() (names paths) {
	if h, err := os.Hostname(); err == nil && h != "" {
		names = append(names, h)
	}
	return append(names, netboot.OwnAddress().String(), "127.0.0.1", "localhost")
}

func runCertsRenew(_ context.Context, c *call) error {
	fs := c.flags()
	var names paths
	fs.Var(&names, "name", "`name` or IP address, in place of those in the certificate; may be given several times")
	args, err := c.parse(fs, 1, 1)
	if err != nil {
		return err
	}
	renewed, err := certs.Renew(args[0], names, time.Now())
	if err != nil {
		return err
	}
	if !renewed {
		fmt.Fprintln(c.stdout, "nothing to renew")
		return nil
	}
	fmt.Fprintln(c.stdout, "renewed; a server that runs takes it within half a day, or after a restart")
	return nil
}

func runCertsShow(_ context.Context, c *call) error {
	args, err := c.parse(c.flags(), 1, 1)
	if err != nil {
		return err
	}
	pair, err := certs.Load(args[0])
	if err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "names   %s\nvalid   %s to %s\nissuer  %s\n", strings.Join(certs.Names(pair.Leaf), ", "),
		pair.Leaf.NotBefore.Format(time.DateOnly), pair.Leaf.NotAfter.Format(time.DateOnly), pair.Leaf.Issuer.CommonName)
	return nil
}

func loginCommand() command {
	return command{name: "login", args: "[--remove] [--password-file FILE] NAME STORE",
		short: "let somebody sign in on the status page of a store, or change a password", run: runLogin}
}

func runLogin(_ context.Context, c *call) error {
	fs := c.flags()
	remove := fs.Bool("remove", false, "let nobody of that name sign in any more")
	file := fs.String("password-file", "", "`file` whose first line is the password (default: ask)")
	args, err := c.parse(fs, 2, 2)
	if err != nil {
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
	if !*remove {
		if password, err = c.askPassword(*file); err != nil {
			return err
		}
		if password == "" {
			return errors.New("the password is empty")
		}
	}
	return users.Set(args[0], password)
}

// askPassword reads a new password from a file, or from the terminal, twice.
func (c *call) askPassword(file string) (string, error) {
	if file != "" {
		return readLine(file)
	}
	tty := c.terminal()
	if tty == nil {
		return "", &usageError{"there is no terminal to ask for the password: want --password-file FILE"}
	}
	first, err := readSecret(tty, c.stderr, "password: ")
	if err != nil {
		return "", err
	}
	again, err := readSecret(tty, c.stderr, "the same again: ")
	if err == nil && string(first) != string(again) {
		err = errors.New("the two passwords differ")
	}
	return string(first), err
}
