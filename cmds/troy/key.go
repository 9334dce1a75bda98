package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"troy/image/publish"
	"troy/image/trust/sign"
	"troy/internal/cli"
	"troy/server/lab"
	"troy/server/signing"
)

// keyCommand returns the commands that work on the signed side of a store. The root and targets
// keys are the admin's: --keys names the folder where they are (a stick), so that they need not lie
// in the store. All other signing keys stay in the store, under keys/online, and are never served.
func keyCommand(s *cli.Streams) *cobra.Command {
	return group("key", "manage signing keys and permissions",
		newKeyInit(s), newKeyList(s), newKeyRotate(s), newKeySign(s), newKeyRefresh(s), newKeyOrder(s), newKeyWipe(s), newKeyServers(s), newKeyRoot(s))
}

// keyFlags are the flags of commands that sign.
type keyFlags struct{ folder, passphraseFile string }

func (k *keyFlags) define(fs *pflag.FlagSet) {
	fs.StringVar(&k.folder, "keys", "", "the `folder` with root.key and targets.key (default: TROY_KEYS, else keys/ in the store)")
	fs.StringVar(&k.passphraseFile, "passphrase-file", "", "`file` whose first line is the keys' passphrase (default: TROY_PASSPHRASE, else you are asked)")
}

// initialising is one "init".
type initialising struct {
	*call
	keys keyFlags
	lab  string
	urls cli.List
}

func initCommand(s *cli.Streams) *cobra.Command {
	c := &initialising{call: newCall(s)}
	cmd := leaf("init DIR", "create a store, keys and lab.yaml", c.run)
	c.keys.define(cmd.Flags())
	cmd.Long = `Create a store, its signing keys, the key of its server and a first lab.yaml with one room. Run it
on the server; else 'troy key servers' signs the key that 'troy serve' makes there.`
	cmd.Flags().Var(&c.urls, "url", "a `URL` at which machines reach the server, such as https://troy.example:8443, may be repeated (default: DHCP or the media name it)")
	cmd.Flags().StringVar(&c.lab, "lab", "", "`file` to write the first lab.yaml to (default: lab.yaml in the store); an existing one is kept")
	return cmd
}

func (c *initialising) run(ctx context.Context, args []string) error {
	if _, err := publish.Init(args[0]); err != nil {
		return err
	}
	repo, err := sign.Init(args[0], time.Now(), c.keys.options(c.call))
	if err != nil {
		return &cli.Fault{Err: err, Fate: args[0] + " is a store, but not signed", Advice: "remove it and run the command again"}
	}
	fmt.Fprintf(c.Out, "made the store %s\n", args[0])
	c.sayKeys(repo)
	if err := c.signFirstServer(ctx, args[0], repo); err != nil {
		return &cli.Fault{Err: err, Fate: "the store is made, but machines take no server", Advice: "'troy key servers --store " + args[0] + " --add " + ownKey + " --url URL' signs it"}
	}
	return c.firstLab(cmp.Or(c.lab, filepath.Join(args[0], lab.FileName)))
}

// firstLab writes a lab.yaml with one room, unless there is one.
func (c *call) firstLab(path string) error {
	err := lab.WriteFirst(path)
	switch {
	case errors.Is(err, fs.ErrExist):
		fmt.Fprintf(c.Out, "rooms:       %s  (it exists and was kept)\n", cli.Clean(path))
		return nil
	case err != nil:
		return &cli.Fault{Err: err, Fate: "the store is made", Advice: "'troy lab init " + path + "' writes the file later"}
	}
	fmt.Fprintf(c.Out, "rooms:       %s  (one room, default; edit it as you need)\n", cli.Clean(path))
	return nil
}

// sayKeys tells the admin what to lock away.
func (c *call) sayKeys(repo *sign.Repository) {
	fmt.Fprintf(c.Out, "root key:    %s  (needed to change keys: copy it to two places, then keep it off this machine)\ntargets key: %s  (needed to publish: keep it where you publish, not where you serve)\n",
		cli.Clean(repo.KeyPath(sign.Root)), cli.Clean(repo.KeyPath(sign.Targets)))
}

// unsigned names the command that helps where a store has no signatures.
func unsigned(err error, dir string) error {
	return &cli.Fault{Err: err, Fate: "machines take nothing from it", Advice: "'troy key init --store " + dir + "' creates its keys and signs its contents"}
}

// signer signs what a command has changed.
type signer struct{ repo *sign.Repository }

// signer opens the keys before the long work begins.
func (i *imageCall) signer(ctx context.Context, keys *keyFlags) (*signer, error) {
	repo, err := sign.Open(i.dir, keys.options(i.call))
	if errors.Is(err, sign.ErrUnsigned) {
		return nil, unsigned(err, i.dir)
	}
	if err == nil {
		err = repo.CheckKeys()
	}
	if err != nil {
		return nil, &cli.Fault{Err: err, Fate: "the store is as it was", Advice: keyAdvice(err)}
	}
	if err := i.wantSigned(ctx, repo); err != nil {
		return nil, err
	}
	return &signer{repo}, nil
}

// wantSigned refuses to sign along with the admin's own work what somebody else put into the store.
func (i *imageCall) wantSigned(ctx context.Context, repo *sign.Repository) error {
	names, err := repo.Unsigned(ctx, i.store)
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("the store differs from what is signed, in %d files: %s", len(names), strings.Join(names[:min(len(names), 4)], ", "))
	}
	if err != nil {
		return &cli.Fault{Err: err, Fate: "the store is as it was", Advice: "if this is your own work, interrupted, 'troy key sign' signs it; else find out who wrote to the store"}
	}
	return nil
}

func keyAdvice(err error) string {
	if errors.Is(err, sign.ErrKey) {
		return "--keys names the folder of the keys, --passphrase-file opens sealed ones"
	}
	return ""
}

// sign makes what the store holds now visible to machines.
func (s *signer) sign(ctx context.Context, i *imageCall) error {
	_, err := s.repo.Sign(ctx, i.store, time.Now())
	return err
}

// warnExpiry tells which signatures end soon. Trouble with them does not stop commands that only
// read.
func (i *imageCall) warnExpiry() {
	repo, err := sign.Open(i.dir, nil)
	if errors.Is(err, sign.ErrUnsigned) {
		err = unsigned(err, i.dir)
	}
	if err != nil {
		i.Note("%v", err)
		return
	}
	lines, err := signing.Expiring(repo, time.Now())
	for _, line := range lines {
		i.Note("%s", line)
	}
	if err != nil {
		i.Note("%v", err)
	}
}
