package main

import (
	"context"
	"fmt"

	"troy/image"
)

func initCommand() command {
	return command{name: "init", args: "DIR", short: "make a store", run: func(ctx context.Context, c *call) error {
		args, err := c.parse(c.flags(), 1, 1)
		if err != nil {
			return err
		}
		if _, err := image.Init(args[0]); err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "made the store %s\n", args[0])
		return nil
	}}
}

type keyFlags struct{}

func (k *keyFlags) add(fs flagSet) {}

type signer struct{}

func (i *imageCall) signer(*keyFlags) (*signer, error)         { return &signer{}, nil }
func (s *signer) sign(ctx context.Context, i *imageCall) error { return nil }
func (i *imageCall) warnExpiry()                               {}
