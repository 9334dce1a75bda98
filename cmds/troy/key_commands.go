package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"troy/image/trust/sign"
	"troy/internal/durable"
	"troy/server/signing"
)

// keyCall is a call that works on the keys of a store.
type keyCall struct {
	*imageCall
	keys keyFlags
	repo *sign.Repository
}

func newKeyCall(c *call) *keyCall {
	k := &keyCall{imageCall: newImageCall(c)}
	k.keys.add(k.fs)
	return k
}

// openKeys parses the command line and opens the signed side of the store.
func (k *keyCall) openKeys(min, max int) (args []string, err error) {
	if args, err = k.open(min, max); err != nil {
		return nil, err
	}
	k.repo, err = sign.Open(k.dir, k.keys.options(k.call))
	if errors.Is(err, sign.ErrUnsigned) {
		err = unsigned(err, k.dir)
	}
	return args, err
}

func openKeys(c *call, min, max int) (k *keyCall, args []string, err error) {
	k = newKeyCall(c)
	args, err = k.openKeys(min, max)
	return k, args, err
}

func runKeyInit(ctx context.Context, c *call) error {
	k := newKeyCall(c)
	_, err := k.open(0, 0)
	if err != nil {
		return err
	}
	if k.repo, err = sign.Init(k.dir, time.Now(), k.keys.options(c)); err != nil {
		return err
	}
	if _, err := k.repo.Sign(ctx, k.store, time.Now()); err != nil {
		return &fault{err: err, fate: "the keys are made, but nothing is signed", advice: "'troy key sign' signs it"}
	}
	c.sayKeys(k.repo)
	return nil
}

// jsonExpiry is one entry of what "key list --json" prints.
type jsonExpiry struct {
	Role    string    `json:"role"`
	Version int64     `json:"version"`
	Expires time.Time `json:"expires"`
	Soon    bool      `json:"soon"`
}

func runKeyList(_ context.Context, c *call) error {
	k, _, err := openKeys(c, 0, 0)
	if err != nil {
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
		return k.printJSON(docs)
	}
	for _, e := range list {
		hint := ""
		if e.Soon {
			hint = "  SOON: " + signing.Renewal(e.Role)
		}
		fmt.Fprintf(k.stdout, "%-10s version %4d  until %s%s\n", e.Role, e.Version, e.Expires.Format(time.DateOnly), hint)
	}
	return nil
}

func runKeyRotate(ctx context.Context, c *call) error {
	k, args, err := openKeys(c, 1, 1)
	if err != nil {
		return err
	}
	role := sign.Role(args[0])
	switch role {
	case sign.Root, sign.Targets, sign.Snapshot, sign.Timestamp:
	default:
		return &usageError{fmt.Sprintf("role %q: want root, targets, snapshot or timestamp", args[0])}
	}
	if err := k.repo.Rotate(ctx, role, time.Now()); err != nil {
		return &fault{err: err, advice: keyAdvice(err)}
	}
	fmt.Fprintf(k.stdout, "the role %s has a new key: %s; machines follow by themselves\n", role, clean(k.repo.KeyPath(role)))
	return nil
}

func runKeySign(ctx context.Context, c *call) error {
	k, _, err := openKeys(c, 0, 0)
	if err != nil {
		return err
	}
	names, err := k.repo.Unsigned(ctx, k.store)
	if err != nil {
		return err
	}
	changed, err := k.repo.Sign(ctx, k.store, time.Now())
	if err != nil {
		return &fault{err: err, fate: "machines see what they saw before", advice: keyAdvice(err)}
	}
	if !changed {
		fmt.Fprintln(k.stdout, "nothing to do: what the store holds is signed")
		return nil
	}
	fmt.Fprintln(k.stdout, "signed what the store holds")
	for _, name := range names {
		fmt.Fprintf(k.stdout, "  new or gone: %s\n", clean(name))
	}
	return nil
}

func runKeyRefresh(ctx context.Context, c *call) error {
	k, _, err := openKeys(c, 0, 0)
	if err != nil {
		return err
	}
	changed, err := k.repo.RefreshTimestamp(ctx, time.Now())
	if err != nil {
		return err
	}
	if !changed {
		fmt.Fprintln(k.stdout, "nothing to do: the timestamp is fresh")
		return nil
	}
	fmt.Fprintln(k.stdout, "renewed the timestamp")
	return nil
}

func runKeyOrder(ctx context.Context, c *call) error {
	k, args, err := openKeys(c, 2, 2)
	if err != nil {
		return err
	}
	number, err := version(args[1], 0)
	if err != nil {
		return err
	}
	if err := k.wantSigned(ctx, k.repo); err != nil {
		return err
	}
	if err := k.repo.SetOrder(ctx, k.store, args[0], number, time.Now()); err != nil {
		return &fault{err: err, fate: "the orders are as they were", advice: keyAdvice(err)}
	}
	if number == 0 {
		fmt.Fprintf(k.stdout, "%s: machines go forward only\n", args[0])
		return nil
	}
	fmt.Fprintf(k.stdout, "%s: machines may go back to version %d\n", args[0], number)
	return nil
}

func runKeyRoot(_ context.Context, c *call) error {
	i := newImageCall(c)
	force := i.fs.Bool("force", false, "replace OUT.json")
	args, err := i.open(1, 1)
	if err != nil {
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
	t, err := newTarget(args[0], *force)
	if err != nil {
		return explain(err, nothingChanged)
	}
	if err := durable.WriteFile(t.path, b, 0o644); err != nil {
		return explain(err, t.fate())
	}
	fmt.Fprintf(i.stdout, "wrote %s\n", clean(t.path))
	return nil
}
