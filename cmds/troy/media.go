package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"troy/image"
	"troy/image/trust/sign"
	"troy/initramfs/bundle"
	"troy/initramfs/media"
	"troy/internal/cli"
)

// mediaCall is one "media".
type mediaCall struct {
	*call
	media.Options
	carried media.Config
	config  string
}

func mediaCommand(s *cli.Streams) *cobra.Command {
	m := &mediaCall{call: newCall(s)}
	cmd := leaf("media", "make boot media", nil)
	cmd.Long = `Make a boot stick, an ISO image, a tree for PXE and UEFI HTTP boot, and the release of the agent for
the machines' own disks.`
	m.define(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return m.run(cmd.Context()) }
	return cmd
}

func (m *mediaCall) define(fs *pflag.FlagSet) {
	m.defineSite(fs)
	c := &m.carried
	fs.StringVar(&c.Append, "append", "", "kernel `arguments` (default "+media.DefaultAppend+"); people see what the last console shows")
	fs.StringVar(&c.BootURL, "boot-url", "", "`URL` at which the folder net will be served: GRUB then loads by HTTP, not by TFTP, such as http://SERVER:8080/boot/")
	fs.BoolVar(&c.Rescue, "rescue", false, "add a shell for whoever sits at the machine; without it nobody comes to a prompt")
	fs.StringVar(&m.Out, "out", "out", "`folder` to write to")
}

// defineSite adds the flags that say what the site adds to the bundle.
func (m *mediaCall) defineSite(fs *pflag.FlagSet) {
	fs.StringVar(&m.Bundle, "bundle", "", "the `folder` of the boot bundle (default: TROY_BUNDLE, else "+bundle.Default+")")
	fs.StringVar(&m.config, "config", "", "YAML or JSON `file` with the values of --server to --boot-url; flags override it, lists are joined")
	c := &m.carried
	fs.Var((*cli.List)(&c.Servers), "server", "`URL` of a server that is not in the signed list (troy key servers), may be repeated; without any DHCP has to name one")
	fs.StringVar(&c.Root, "root", "", "`file` with the root of the store (troy key root)")
	fs.StringVar(&c.Store, "store", "", "the store's `folder`, to take the root and the signed list of servers from (default: TROY_STORE, else the current one)")
	fs.StringVar(&c.Keys, "keys", "", "the `folder` with trusted.json, which says whether that is your root (default: TROY_KEYS, else keys/ in the store)")
	fs.Var((*cli.List)(&c.Arguments), "argument", "`word` for the agent such as troy.port=eth0, may be repeated")
}

func (m *mediaCall) run(ctx context.Context) error {
	if err := m.readConfig(); err != nil {
		return err
	}
	return m.make(ctx)
}

// readConfig joins what flags and the file say.
func (m *mediaCall) readConfig() error {
	m.carried.Keys = cmp.Or(m.carried.Keys, os.Getenv("TROY_KEYS"))
	m.Config = &m.carried
	if m.config != "" {
		below, err := media.ReadConfig(m.config)
		if err != nil {
			return explain(err, cli.NothingChanged)
		}
		m.Config = m.carried.Under(below)
	}
	if m.Config.Root == "" && m.Config.Store == "" {
		m.Config.Store = cmp.Or(os.Getenv("TROY_STORE"), ".")
	}
	return nil
}

// make makes the media and says what each is for.
func (m *mediaCall) make(ctx context.Context) error {
	m.Made = func(path, what string) { fmt.Fprintf(m.call.Out, "%s: %s\n", path, what) }
	work, err := m.open()
	if err != nil {
		return err
	}
	for _, line := range work.Warnings() {
		fmt.Fprintln(m.Err, "troy:", line)
	}
	return work.Make(ctx)
}

// open checks what the media will carry.
func (m *mediaCall) open() (*media.Maker, error) {
	work, err := media.Open(&m.Options)
	switch {
	case errors.Is(err, media.ErrSources):
		return nil, cli.Usagef("%v", err)
	case errors.Is(err, sign.ErrUnsigned):
		if _, none := image.OpenStore(m.Config.Store); errors.Is(none, image.ErrNotFound) {
			return nil, &cli.Fault{Err: none, Fate: cli.NothingChanged, Advice: "--store or TROY_STORE names the folder of a store, --root a file with its root"}
		}
		return nil, unsigned(err, m.Config.Store)
	case errors.Is(err, sign.ErrDoubt), errors.Is(err, sign.ErrNoTrust):
		return nil, trustFault(err)
	case err != nil:
		return nil, explain(bundleFault(err), cli.NothingChanged)
	}
	return work, nil
}

// bundleFault says where a boot bundle comes from.
func bundleFault(err error) error {
	if errors.Is(err, bundle.ErrAbsent) || errors.Is(err, bundle.ErrInvalid) {
		return &cli.Fault{Err: err, Advice: "the Debian package has one, 'make bundle' makes one of a checkout; --bundle or TROY_BUNDLE names its folder"}
	}
	return err
}
