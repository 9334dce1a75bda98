package main

import (
	"context"
	"errors"
	"fmt"
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
	k.repo, err = sign.Open(k.dir, k.keys.options(k.call))
	if errors.Is(err, sign.ErrUnsigned) {
		err = unsigned(err, k.dir)
	}
	return err
}

func newKeyInit(s *cli.Streams) *cobra.Command {
	k := newKeyCall(s)
	return k.withKeys(leaf("init", "create keys for a store that has none, and sign its contents", k.runInit))
}

func (k *keyCall) runInit(ctx context.Context, _ []string) error {
	err := k.imageCall.open()
	if err != nil {
		return err
	}
	if k.repo, err = sign.Init(k.dir, time.Now(), k.keys.options(k.call)); err != nil {
		return err
	}
	if _, err := k.repo.Sign(ctx, k.store, time.Now()); err != nil {
		return &cli.Fault{Err: err, Fate: "the keys are made, but nothing is signed", Advice: "run 'troy key sign'"}
	}
	k.sayKeys(k.repo)
	return nil
}

// jsonExpiry is one entry of what "key list --json" prints.
type jsonExpiry struct {
	Role    string    `json:"role"`
	Version int64     `json:"version"`
	Expires time.Time `json:"expires"`
	Soon    bool      `json:"soon"`
}

func newKeyList(s *cli.Streams) *cobra.Command {
	k := newKeyCall(s)
	return k.withStoreJSON(leaf("list", "list when the signatures expire", k.runList))
}

func (k *keyCall) runList(context.Context, []string) error {
	if err := k.open(); err != nil {
		return err
	}
	list, err := k.repo.Expiries(time.Now())
	if err != nil {
		return err
	}
	docs := make([]jsonExpiry, 0, len(list))
	for _, e := range list {
		docs = append(docs, jsonExpiry{string(e.Role), e.Version, e.Expires, e.Soon})
	}
	if k.json {
		return k.JSON(docs)
	}
	for _, e := range list {
		hint := ""
		if e.Soon {
			hint = "  SOON: " + signing.Renewal(e.Role)
		}
		fmt.Fprintf(k.Out, "%-10s version %4d  until %s%s\n", e.Role, e.Version, e.Expires.Format(time.DateOnly), hint)
	}
	return nil
}

func newKeyRotate(s *cli.Streams) *cobra.Command {
	k := newKeyCall(s)
	cmd := leaf("rotate ROLE", "replace the key of a role (needs the root key)", k.runRotate)
	cmd.Long = "Replace the key of a role: root, targets, snapshot or timestamp. This needs the root key."
	cmd.ValidArgs = []string{string(sign.Root), string(sign.Targets), string(sign.Snapshot), string(sign.Timestamp)}
	return k.withKeys(cmd)
}

func (k *keyCall) runRotate(ctx context.Context, args []string) error {
	role := sign.Role(args[0])
	switch role {
	case sign.Root, sign.Targets, sign.Snapshot, sign.Timestamp:
	default:
		return cli.Usagef("role %q: want root, targets, snapshot or timestamp", args[0])
	}
	if err := k.open(); err != nil {
		return err
	}
	if err := k.repo.Rotate(ctx, role, time.Now()); err != nil {
		return &cli.Fault{Err: err, Advice: keyAdvice(err)}
	}
	fmt.Fprintf(k.Out, "the role %s has a new key: %s; machines follow by themselves\n", role, cli.Clean(k.repo.KeyPath(role)))
	return nil
}

func newKeySign(s *cli.Streams) *cobra.Command {
	k := newKeyCall(s)
	return k.withKeys(leaf("sign", "sign the store's contents", k.runSign))
}

func (k *keyCall) runSign(ctx context.Context, _ []string) error {
	if err := k.open(); err != nil {
		return err
	}
	names, err := k.repo.Unsigned(ctx, k.store)
	if err != nil {
		return err
	}
	changed, err := k.repo.Sign(ctx, k.store, time.Now())
	if err != nil {
		return &cli.Fault{Err: err, Fate: "machines still see the previous state", Advice: keyAdvice(err)}
	}
	if !changed {
		fmt.Fprintln(k.Out, "nothing to do: the store's contents are signed")
		return nil
	}
	fmt.Fprintln(k.Out, "signed the store's contents")
	for _, name := range names {
		fmt.Fprintf(k.Out, "  new or gone: %s\n", cli.Clean(name))
	}
	return nil
}

func newKeyRefresh(s *cli.Streams) *cobra.Command {
	k := newKeyCall(s)
	return k.withStore(leaf("refresh", "re-sign the short-lived metadata (serve does this by itself)", k.runRefresh))
}

func (k *keyCall) runRefresh(ctx context.Context, _ []string) error {
	if err := k.open(); err != nil {
		return err
	}
	changed, err := k.repo.RefreshTimestamp(ctx, time.Now())
	if err != nil {
		return err
	}
	if !changed {
		fmt.Fprintln(k.Out, "nothing to do: the timestamp is fresh")
		return nil
	}
	fmt.Fprintln(k.Out, "renewed the timestamp")
	return nil
}

func newKeyOrder(s *cli.Streams) *cobra.Command {
	k := newKeyCall(s)
	return k.withKeys(leaf("order NAME VERSION", "allow a downgrade to VERSION (0 revokes it)", k.runOrder))
}

func (k *keyCall) runOrder(ctx context.Context, args []string) error {
	number, err := versionNumber(args[1], 0)
	if err != nil {
		return err
	}
	if err := k.open(); err != nil {
		return err
	}
	if err := k.wantSigned(ctx, k.repo); err != nil {
		return err
	}
	if err := k.repo.SetOrder(ctx, k.store, args[0], number, time.Now()); err != nil {
		return &cli.Fault{Err: err, Fate: "the orders are as they were", Advice: keyAdvice(err)}
	}
	if number == 0 {
		fmt.Fprintf(k.Out, "%s: machines go forward only\n", args[0])
		return nil
	}
	fmt.Fprintf(k.Out, "%s: machines may go back to version %d\n", args[0], number)
	return nil
}

// rootWriting is one "key root".
type rootWriting struct {
	*imageCall
	force bool
}

func newKeyRoot(s *cli.Streams) *cobra.Command {
	i := &rootWriting{imageCall: newImageCall(s)}
	cmd := leaf("root OUT.json", "write the root metadata that boot media carry", i.run)
	cmd.Flags().BoolVar(&i.force, "force", false, "replace OUT.json")
	return i.withStore(cmd)
}

func (i *rootWriting) run(_ context.Context, args []string) error {
	if err := i.open(); err != nil {
		return err
	}
	repo, err := sign.Open(i.dir, nil)
	if err != nil {
		return err
	}
	b, err := repo.Root()
	if err != nil {
		return err
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
