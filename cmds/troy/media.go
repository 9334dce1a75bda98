package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"troy/image/trust/sign"
	"troy/initramfs/media"
	"troy/internal/cli"
)

// mediaCall is one "media".
type mediaCall struct {
	*call
	media.Options
	carried          media.Config
	config, programs string
}

func mediaCommand(s *cli.Streams) *cobra.Command {
	m := &mediaCall{call: newCall(s)}
	cmd := leaf("media --kernel FILE --modules DIR", "make boot media", nil)
	cmd.Long = "Make a boot stick, an ISO image, and a tree for PXE and UEFI HTTP boot."
	m.define(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return m.run(cmd.Context()) }
	return cmd
}

func (m *mediaCall) define(fs *pflag.FlagSet) {
	fs.StringVar(&m.Kernel, "kernel", "", "kernel image `file` (bzImage), 6.6 or newer; for Secure Boot the one that Debian signed")
	fs.StringVar(&m.Modules, "modules", "", "its lib/modules/VERSION `folder`")
	fs.StringVar(&m.config, "config", "", "YAML or JSON `file` with the values of --server to --boot-url; flags override it, lists are joined")
	c := &m.carried
	fs.Var((*cli.List)(&c.Servers), "server", "`URL` of a server that is not in the signed list (troy key servers), may be repeated; without any DHCP has to name one")
	fs.StringVar(&c.Root, "root", "", "`file` with the root of the store (troy key root)")
	fs.StringVar(&c.Store, "store", "", "the store's `folder`, to take the root and the signed list of servers from")
	fs.StringVar(&c.Keys, "keys", "", "the `folder` with trusted.json, which says whether that is your root (default: TROY_KEYS, else keys/ in the store)")
	fs.Var((*cli.List)(&c.Arguments), "argument", "`word` for the agent such as troy.port=eth0, may be repeated")
	fs.StringVar(&c.Append, "append", "", "kernel `arguments` (default "+media.DefaultAppend+"); people see what the last console shows")
	fs.StringVar(&c.BootURL, "boot-url", "", "`URL` at which the folder net will be served: GRUB then loads by HTTP, not by TFTP, such as http://SERVER:8080/boot/")
	fs.BoolVar(&c.Rescue, "rescue", false, "add a shell for whoever sits at the machine; without it nobody comes to a prompt")
	fs.StringVar(&m.Loaders, "loaders", "/", "`folder` below which Debian's shim-signed, grub-efi-amd64-signed and ipxe are installed or unpacked")
	fs.StringVar(&m.programs, "programs", "mkntfs,ntfs-3g", "comma-separated `names` of this machine's programs that the media carry; reinstalling needs mkntfs and ntfs-3g")
	fs.StringVar(&m.Out, "out", "out", "`folder` to write to")
	fs.StringVar(&m.Cache, "cache", "", "`folder` that keeps compiled programs for the next time")
}

func (m *mediaCall) run(ctx context.Context) error {
	if m.Kernel == "" || m.Modules == "" {
		return cli.Usagef("--kernel and --modules are needed")
	}
	m.carried.Keys = cmp.Or(m.carried.Keys, os.Getenv("TROY_KEYS"))
	m.Config = &m.carried
	if m.config != "" {
		below, err := media.ReadConfig(m.config)
		if err != nil {
			return explain(err, cli.NothingChanged)
		}
		m.Config = m.carried.Under(below)
	}
	if m.programs != "" {
		m.Programs = strings.Split(m.programs, ",")
	}
	return m.make(ctx)
}

// make makes the media and says what each is for.
func (m *mediaCall) make(ctx context.Context) error {
	m.Made = func(path, what string) { fmt.Fprintf(m.call.Out, "%s: %s\n", path, what) }
	work, err := media.Open(&m.Options)
	if errors.Is(err, media.ErrSources) {
		return cli.Usagef("%v", err)
	}
	if errors.Is(err, sign.ErrUnsigned) {
		return unsigned(err, m.Config.Store)
	}
	if errors.Is(err, sign.ErrDoubt) || errors.Is(err, sign.ErrNoTrust) {
		return trustFault(err)
	}
	if err != nil {
		return explain(err, cli.NothingChanged)
	}
	for _, line := range work.Warnings() {
		fmt.Fprintln(m.Err, "troy:", line)
	}
	return work.Make(ctx)
}
