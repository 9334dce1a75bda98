package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"troy/image/publish"
	"troy/image/trust/sign"
	"troy/server/lab"
	"troy/server/signing"
)

// keyCommand returns the commands that work on the signed side of a store. The root and targets keys are the admin's: --keys names the folder where they are
// (a stick), so that they need not lie in the store. All other signing keys stay in the store, under keys/online, and are never served.
func keyCommand() command {
	const flags = "[--store DIR] [--keys DIR] [--passphrase-file FILE] "
	return command{name: "key", sub: []command{
		{name: "init", args: flags, short: "make the keys of a store that was made without, and sign what it holds", run: runKeyInit},
		{name: "list", args: "[--store DIR] [--json]", short: "until when the signatures hold", run: runKeyList},
		{name: "rotate", args: flags + "root|targets|snapshot|timestamp", short: "give a role a new key (needs the root key)", run: runKeyRotate},
		{name: "sign", args: flags, short: "sign what the store holds, for as long as that is allowed", run: runKeySign},
		{name: "refresh", args: "[--store DIR]", short: "renew what holds for days only, as serve does by itself", run: runKeyRefresh},
		{name: "order", args: flags + "NAME VERSION", short: "sign that machines may go back to a version (0: no longer)", run: runKeyOrder},
		{name: "wipe", args: flags + "[--until DATE] --serial S… | --machine ID… | --none | list", short: "sign which disks that hold something may be wiped", run: runKeyWipe},
		{name: "root", args: "[--store DIR] [--force] OUT.json", short: "write the root metadata that boot media carry", run: runKeyRoot},
	}}
}

// keyFlags are the flags of commands that sign.
type keyFlags struct{ folder, passphraseFile string }

func (k *keyFlags) add(fs flagSet) {
	fs.StringVar(&k.folder, "keys", os.Getenv("TROY_KEYS"), "the `folder` with root.key and targets.key (default: TROY_KEYS, else keys/ in the store)")
	fs.StringVar(&k.passphraseFile, "passphrase-file", "", "`file` whose first line is the passphrase of the keys (default: the variable TROY_PASSPHRASE, else it is asked on the terminal; without one, new keys are not sealed)")
}

func initCommand() command {
	return command{name: "init", args: "[--keys DIR] [--passphrase-file FILE] [--lab FILE] DIR", short: "make a store, its signing keys and a first lab.yaml", run: runInit}
}

func runInit(ctx context.Context, c *call) error {
	fs := c.flags()
	var keys keyFlags
	keys.add(fs)
	file := fs.String("lab", "", "`file` to write the first lab.yaml to (default: lab.yaml in the store); one that is there stays")
	if err := goneFlags(c.args, initGone); err != nil {
		return err
	}
	args, err := c.parse(fs, 1, 1)
	if err != nil {
		return err
	}
	if _, err := publish.Init(args[0]); err != nil {
		return err
	}
	repo, err := sign.Init(args[0], time.Now(), keys.options(c))
	if err != nil {
		return &fault{err: err, fate: args[0] + " is a store, but not signed", advice: "remove it and run the command again"}
	}
	fmt.Fprintf(c.stdout, "made the store %s\n", args[0])
	c.sayKeys(repo)
	return c.firstLab(cmp.Or(*file, filepath.Join(args[0], lab.FileName)))
}

// initGone says what replaces the flag that init no longer has.
var initGone = map[string]string{"unsigned": "every store is signed; the keys are made by init"}

// firstLab writes a lab.yaml with one room, unless there is one.
func (c *call) firstLab(path string) error {
	err := lab.WriteFirst(path)
	switch {
	case errors.Is(err, fs.ErrExist):
		fmt.Fprintf(c.stdout, "rooms:       %s  (it was there and stays as it is)\n", clean(path))
		return nil
	case err != nil:
		return &fault{err: err, fate: "the store is made", advice: "'troy lab init " + path + "' writes the file later"}
	}
	fmt.Fprintf(c.stdout, "rooms:       %s  (one room, default; edit it as you need)\n", clean(path))
	return nil
}

// sayKeys tells the admin what to lock away.
func (c *call) sayKeys(repo *sign.Repository) {
	fmt.Fprintf(c.stdout, "root key:    %s  (needed to change keys: copy it to two places, then keep it off this machine)\ntargets key: %s  (needed to publish: keep it where you publish, not where you serve)\n",
		clean(repo.KeyPath(sign.Root)), clean(repo.KeyPath(sign.Targets)))
}

// unsigned names the command that helps where a store has no signatures.
func unsigned(err error, dir string) error {
	return &fault{err: err, fate: "machines take nothing from it", advice: "'troy key init --store " + dir + "' makes its keys and signs what it holds"}
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
		return nil, &fault{err: err, fate: "the store is as it was", advice: keyAdvice(err)}
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
		return &fault{err: err, fate: "the store is as it was", advice: "if this is your own work, interrupted, 'troy key sign' signs it; else find out who wrote to the store"}
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

// warnExpiry tells which signatures end soon. Whoever only looks is not kept from looking by trouble with them.
func (i *imageCall) warnExpiry() {
	repo, err := sign.Open(i.dir, nil)
	if errors.Is(err, sign.ErrUnsigned) {
		err = unsigned(err, i.dir)
	}
	if err != nil {
		i.note("%v", err)
		return
	}
	lines, err := signing.Expiring(repo, time.Now())
	for _, line := range lines {
		i.note("%s", line)
	}
	if err != nil {
		i.note("%v", err)
	}
}
