package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"troy/image/publish"
	"troy/image/trust"
	"troy/internal/cli"
	"troy/server/rooms"
	"troy/server/rooms/api"
	"troy/server/signing"
)

// fromMachines is --at-least without a number.
const fromMachines = "machines"

// jumpMost is how far numbers go on without a second question: they are finite, and a machine that
// tells nonsense would use them up.
const jumpMost = 10_000

// keySign is one "key sign".
type keySign struct {
	*keyCall
	atLeast string
	without cli.List
}

// goOn signs above what machines have seen.
func (k *keySign) goOn(ctx context.Context) error {
	have, err := k.repo.Numbers()
	if err != nil {
		return trustFault(err)
	}
	told, err := k.told(ctx, have)
	if err != nil {
		return err
	}
	for _, s := range told.Numbers {
		k.Note("%s", s.String())
	}
	seen := told.Highest
	if k.atLeast != fromMachines {
		n, err := strconv.ParseInt(k.atLeast, 10, 32)
		if err != nil || n < 1 {
			return cli.Usagef("--at-least=%s: want a number from 1 on", k.atLeast)
		}
		seen.Targets, seen.Snapshot, seen.Timestamp = n, n, n
	} else if told.Machines == 0 {
		return &cli.Fault{Err: fmt.Errorf("no PC that is known by its key has told which numbers it has seen"), Fate: "nothing was signed",
			Advice: "start one PC with 'troy serve' running, or give a number with --at-least=NUMBER"}
	}
	if err := k.jump(have, seen); err != nil {
		return &cli.Fault{Err: err, Fate: "nothing was signed"}
	}
	err = k.repo.Continue(ctx, k.store, time.Now(), seen, func(ctx context.Context, image string, newest int) error {
		return publish.Reserve(ctx, k.store, image, newest)
	})
	if err != nil {
		return trustFault(err)
	}
	fmt.Fprintln(k.Out, "signed the store's contents above all that PCs have seen; they accept it from their next start on")
	return nil
}

// told is what the machines of the store's server tell. Without a server or a state file nobody
// tells anything, which is enough where the admin gives the number.
func (k *keySign) told(ctx context.Context, have trust.Numbers) (*signing.Told, error) {
	var list []rooms.Host
	admin := &adminCall{imageCall: k.imageCall}
	err := admin.connect(ctx)
	if err == nil {
		err = admin.look(ctx, func(a api.Admin) (err error) {
			list, err = a.Hosts(ctx, "")
			return err
		})
	}
	if err != nil && k.atLeast == fromMachines {
		return nil, &cli.Fault{Err: err, Fate: "nothing was signed", Advice: "run it on the server, or give a number with --at-least=NUMBER"}
	}
	return signing.Compare(list, have), nil
}

// jump asks whether numbers are to go on far above those of the store.
func (k *keySign) jump(have, seen trust.Numbers) error {
	far := max(seen.Targets-have.Targets, seen.Snapshot-have.Snapshot, seen.Timestamp-have.Timestamp, int64(seen.Servers-have.Servers))
	for image, n := range seen.Images {
		far = max(far, int64(n-have.Images[image]))
	}
	if far <= jumpMost {
		return nil
	}
	k.Note("this is a jump by %d: numbers are finite, and used up for ever", far)
	if k.keys.yes && k.atLeast == fromMachines {
		return fmt.Errorf("a jump by %d needs more than --yes: look which PC tells it, and give the number with --at-least=NUMBER", far)
	}
	return k.keys.ask(k.call, "is that right? yes or no: ")
}
