package daemon

import (
	"context"
	"fmt"

	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/server"
	"troy/server/protocol"
)

// withServers names the store's signed list of servers in each order: a machine that has another one
// fetches it, also if it has nothing else to do.
type withServers struct {
	server.Orders
	digest func() string
}

// Order implements server.Orders.
func (w withServers) Order(ctx context.Context, peer protocol.Peer, in protocol.CheckIn) (protocol.Order, error) {
	o, err := w.Orders.Order(ctx, peer, in)
	if err == nil {
		o.Servers = w.digest()
	}
	return o, err
}

// signedServers asks for the SHA-256 of the list; trouble is no list.
func signedServers(dir string, warn func(string)) func() string {
	return func() string {
		repo, err := sign.Open(dir, nil)
		if err == nil {
			var list *trust.Servers
			if list, err = repo.ServedList(); err == nil {
				return list.Digest()
			}
		}
		warn(fmt.Sprintf("list of servers: %v", err))
		return ""
	}
}
