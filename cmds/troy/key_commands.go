package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"troy/image/trust/sign"
	"troy/internal/cli"
	"troy/internal/durable"
	"troy/server/signing"
)

// keyCall is a call that works on the keys of a store.
type keyCall struct {
	*imageCall
	keys keyFlags
	repo *sign.Repository
}

func newKeyCall(s *cli.Streams) *keyCall { return &keyCall{imageCall: newImageCall(s)} }

// withKeys adds --store and the flags of commands that sign.
func (k *keyCall) withKeys(cmd *cobra.Command) *cobra.Command {
	k.keys.define(cmd.Flags())
	return k.withStore(cmd)
}

// open opens the store and its signed side.
func (k *keyCall) open() (err error) {
	if err = k.imageCall.open(); err != nil {
		return err
	}
	k.repo, err = k.repository(&k.keys)
	return err
}

func newKeyInit(s *cli.Streams) *cobra.Command {
	k := newKeyCall(s)
	return k.withKeys(leaf("init", "create the keys of a store that has none, and sign its contents", k.runInit))
}

func (k *keyCall) runInit(ctx context.Context, _ []string) error {
	err := k.imageCall.open()
	if err != nil {
		return err
	}
	k.keys.broad = true
	if k.repo, err = sign.Init(k.dir, time.Now(), k.keys.options(k.call)); err != nil {
		return err
	}
	k.sayKeys(k.repo, k.dir)
	if _, err := k.repo.SignAll(ctx, k.store, time.Now()); err != nil {
		return &cli.Fault{Err: err, Fate: "the keys are made, but nothing is signed", Advice: "run 'troy key sign'"}
	}
	return nil
}

// jsonExpiry is one entry of what "key list --json" prints.
type jsonExpiry struct {
	Key     sign.Key  `json:"key"`
	Version int64     `json:"version"`
	Expires time.Time `json:"expires"`
	Soon    bool      `json:"soon"`
	Expired bool      `json:"expired"`
}

func newKeyList(s *cli.Streams) *cobra.Command {
	k := newKeyCall(s)
	return k.withStoreJSON(leaf("list", "list when the signatures expire", k.runList))
}

func (k *keyCall) runList(context.Context, []string) error {
	if err := k.open(); err != nil {
		return err
	}
	now := time.Now()
	list, err := k.repo.Expiries(now)
	if err != nil {
		return trustFault(err)
	}
	docs := make([]jsonExpiry, 0, len(list))
	for _, e := range list {
		docs = append(docs, jsonExpiry{e.Key, e.Version, e.Expires, e.Soon, e.Ended(now)})
	}
	if k.json {
		return k.JSON(docs)
	}
	for _, e := range list {
		until, hint := "valid until", ""
		switch {
		case e.Ended(now):
			until, hint = "EXPIRED on", "  machines take nothing new: "+signing.Renewal(e.Key)
		case e.Soon:
			hint = "  SOON: " + signing.Renewal(e.Key)
		}
		fmt.Fprintf(k.Out, "%-10s  signed %4d times, %s %s%s\n", e.Key, e.Version, until, e.Expires.Format(time.DateOnly), hint)
	}
	return nil
}

// rotating is one "key rotate".
type rotating struct {
	*keyCall
	server bool
}

func newKeyRotate(s *cli.Streams) *cobra.Command {
	r := &rotating{keyCall: newKeyCall(s)}
	cmd := leaf("rotate", "replace the keys after a theft or a break-in", r.run)
	cmd.Long = `Put the store back to what the admin key verified last, and replace the keys: after the admin key
was stolen both of them, with --server only the server's, after a break-in.
What this takes out of the store or brings back is listed before. Machines follow by themselves.`
	cmd.Flags().BoolVar(&r.server, "server", false, "replace only the key that lies on the server")
	return r.withKeys(cmd)
}

func (r *rotating) run(ctx context.Context, _ []string) (err error) {
	if err := r.imageCall.open(); err != nil {
		return err
	}
	r.keys.broad = true
	r.repo, err = sign.Open(r.dir, r.keys.options(r.call))
	if err != nil && !errors.Is(err, sign.ErrDoubt) {
		return unsigned(err, r.dir)
	}
	which := sign.Admin
	if r.server {
		which = sign.Server
	}
	if err := r.repo.Rotate(ctx, r.store, which, time.Now()); err != nil {
		return &cli.Fault{Err: err, Advice: rotateAdvice(err)}
	}
	if !r.server {
		fmt.Fprintf(r.Out, "the admin key is a new one: %s; copy it and trusted.json beside it to two places\n", cli.Clean(r.repo.KeyPath(sign.Admin)))
	}
	fmt.Fprintln(r.Out, "the server has a new key; machines follow by themselves")
	return nil
}

// rotateAdvice is keyAdvice for the command that it mostly recommends.
func rotateAdvice(err error) string {
	if errors.Is(err, sign.ErrDoubt) {
		return "restore what is named from a backup of the store, then run the command again"
	}
	return keyAdvice(err)
}

func newKeySign(s *cli.Streams) *cobra.Command {
	k := &keySign{keyCall: newKeyCall(s)}
	cmd := leaf("sign", "show what is not signed, and sign it", k.run)
	cmd.Long = `Show what the store holds or lacks beyond what is signed, and sign that. Use it after your own work
was interrupted. What you do not know was put there by somebody else: do not sign it.

After the store was restored from a backup, --at-least signs it above the highest numbers that PCs
have seen, which take nothing older. Start some of them first: they tell their numbers when they
check in. Version numbers that were used since the backup are not used again.

An image that is not there at all is not taken for removed, for its file system may not be mounted:
--without names one that is given up.`
	cmd.Flags().Var(&k.without, "without", "sign that this `image`, which the store lacks, is gone; may be repeated")
	cmd.Flags().StringVar(&k.atLeast, "at-least", "", "sign above the highest numbers that PCs have seen; with =`NUMBER` above that one")
	cmd.Flags().Lookup("at-least").NoOptDefVal = fromMachines
	return k.withKeys(cmd)
}

func (k *keySign) run(ctx context.Context, _ []string) error {
	k.keys.broad = true
	if k.atLeast != "" && len(k.without) > 0 {
		return cli.Usagef("--without is not for --at-least, which shows what the backup lacks")
	}
	if err := k.open(); err != nil {
		return err
	}
	if k.atLeast != "" {
		return k.goOn(ctx)
	}
	changed, err := k.repo.SignAll(ctx, k.store, time.Now(), k.without...)
	if err != nil {
		return trustFault(err)
	}
	if !changed {
		fmt.Fprintln(k.Out, "nothing to do: the store's contents are signed")
		return nil
	}
	fmt.Fprintln(k.Out, "signed the store's contents")
	return nil
}

func newKeyRefresh(s *cli.Streams) *cobra.Command {
	k := newKeyCall(s)
	return k.withStore(leaf("refresh", "renew what the server's key signed (serve does this by itself)", k.runRefresh))
}

func (k *keyCall) runRefresh(ctx context.Context, _ []string) error {
	if err := k.open(); err != nil {
		return err
	}
	changed, err := k.repo.RefreshTimestamp(ctx, time.Now())
	if err != nil {
		return trustFault(err)
	}
	if !changed {
		fmt.Fprintln(k.Out, "nothing to do: it was renewed not long ago")
		return nil
	}
	fmt.Fprintln(k.Out, "renewed")
	return nil
}

// rootWriting is one "key root".
type rootWriting struct {
	*keyCall
	force bool
}

func newKeyRoot(s *cli.Streams) *cobra.Command {
	i := &rootWriting{keyCall: newKeyCall(s)}
	cmd := leaf("root OUT.json", "write the root that boot media carry", i.run)
	cmd.Flags().BoolVar(&i.force, "force", false, "replace OUT.json")
	i.keys.defineTrust(cmd.Flags())
	return i.withStore(cmd)
}

func (i *rootWriting) run(_ context.Context, args []string) error {
	if err := i.open(); err != nil {
		return err
	}
	b, err := i.repo.Root()
	if err != nil {
		return trustFault(err)
	}
	t, err := cli.NewTarget(args[0], i.force)
	if err != nil {
		return explain(err, cli.NothingChanged)
	}
	if err := durable.WriteFile(t.Path, b, 0o644); err != nil {
		return explain(err, t.Fate())
	}
	fmt.Fprintf(i.Out, "wrote %s\n", cli.Clean(t.Path))
	return nil
}

func newKeyTrust(s *cli.Streams) *cobra.Command {
	k := newKeyCall(s)
	cmd := leaf("trust [ROOT.json]", "make trusted.json beside the admin key", k.runTrust)
	cmd.Long = `Make the file trusted.json beside the admin key, from a root that your boot media carry or that
'troy key root' wrote. Without ROOT.json it is the store's newest root, if the admin key signed it.`
	k.keys.defineTrust(cmd.Flags())
	return k.withStore(cmd)
}

func (k *keyCall) runTrust(_ context.Context, args []string) (err error) {
	if err := k.open(); err != nil {
		return err
	}
	var root []byte
	if len(args) == 1 {
		if root, err = os.ReadFile(args[0]); err != nil {
			return err
		}
	}
	if err := k.repo.Trust(root); err != nil {
		return &cli.Fault{Err: err, Fate: "nothing is trusted that was not before"}
	}
	fmt.Fprintln(k.Out, "this folder of keys now knows its store")
	return nil
}
