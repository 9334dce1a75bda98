package server

import (
	"context"
	"strings"

	"troy/server/protocol"
)

// fixed is an Orders that wants the same of every machine.
type fixed struct {
	Image   string
	Version int
}

// Order implements Orders.
func (f *fixed) Order(_ context.Context, _ protocol.Peer, c protocol.CheckIn) (protocol.Order, error) {
	o := protocol.Order{Protocol: protocol.Version, Want: &protocol.Want{Image: f.Image, Version: f.Version, Manifest: strings.Repeat("0f", protocol.HashSize/2)}, Repo: protocol.PathRepo}
	if c.Image == f.Image && c.Version == f.Version {
		o.Reason = "the machine has this version"
	}
	return o, nil
}
