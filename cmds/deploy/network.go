package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"troy/netfetch"
	"troy/server/protocol"
)

// How long the agent goes on before it starts what is there: students wait behind this.
const (
	linkPatience   = 60 * time.Second
	serverPatience = 45 * time.Second
	reportPatience = 10 * time.Second
)

// errNoServer: neither the kernel arguments nor DHCP name a server.
var errNoServer = errors.New("no server is named (kernel argument troy.server=, or DHCP option 224)")

// connect brings up the network and finds the server.
func (a *agent) connect(ctx context.Context) error {
	a.readIdentity()
	if a.o.linkUp {
		err := a.phase("link", nil, func() error { return a.linkUp(ctx) })
		if err != nil {
			return untouched("network", err)
		}
	}
	url := ""
	if a.link != nil {
		url = netfetch.ServerURL(a.link.Server)
	}
	if len(a.o.net.Servers) > 0 {
		url = a.o.net.Servers[0]
	}
	if url == "" {
		return untouched("network", errNoServer)
	}
	h, err := netfetch.NewHTTP(url, &netfetch.HTTPOptions{GiveUpAfter: cmp.Or(a.o.patience, serverPatience), UserAgent: version, OnRetry: a.retrying})
	if err != nil {
		return untouched("network", err)
	}
	a.server = h
	if a.link != nil {
		go a.link.Keep(ctx, &netfetch.KeepOptions{
			Changed: func(*netfetch.Link) { h.Reconnect() },
			Notify:  func(err error) { a.say("network: %v", err) },
		})
	}
	return nil
}

// retrying shows that something is tried again, the first time and then every ten seconds.
func (a *agent) retrying(err error, wait time.Duration) {
	a.retryMu.Lock()
	defer a.retryMu.Unlock()
	if now := time.Now(); now.Sub(a.retrySaid) > 10*time.Second {
		a.retrySaid = now
		a.say("%v; again in %.1f s", err, wait.Seconds())
	}
}

func (a *agent) linkUp(ctx context.Context) error {
	link, err := netfetch.LinkUp(ctx, &netfetch.LinkOptions{
		Static: a.o.net.Static, Interfaces: a.o.net.Interfaces, Wait: linkPatience, ResolvConf: "/etc/resolv.conf",
	})
	if err != nil {
		return err
	}
	a.link = link
	a.id.MACs = hardwareAddresses() // drivers may have come late
	a.say("network: %s has %s after %.1f s", link.Interface, link.Addr, link.Took.Seconds())
	return nil
}

// readIdentity reads what the firmware says about the machine; a missing entry stays empty.
func (a *agent) readIdentity() {
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(a.o.dmi, name))
		if err != nil {
			return ""
		}
		return protocol.Clean(strings.TrimSpace(string(b)), protocol.MaxText)
	}
	a.id.UUID, a.id.Serial = strings.ToLower(read("product_uuid")), read("product_serial")
	a.id.Vendor, a.id.Product = read("sys_vendor"), read("product_name")
	a.id.MACs = hardwareAddresses()
}

// hardwareAddresses lists the ports of the machine as the kernel knows them now.
func hardwareAddresses() []string {
	ports, err := net.Interfaces()
	if err != nil {
		return nil // the UUID may do
	}
	var macs []string
	for _, p := range ports {
		if len(p.HardwareAddr) == 6 && len(macs) < protocol.MaxMACs {
			macs = append(macs, p.HardwareAddr.String())
		}
	}
	return macs
}

// checkIn tells the server what this machine is and has, and returns the order.
func (a *agent) checkIn(ctx context.Context, diskErr error) (*protocol.Order, error) {
	in := protocol.CheckIn{Protocol: protocol.Version, Machine: a.id, Agent: version}
	if a.machine != nil {
		s := a.machine.State()
		in.Image, in.Version, in.Staged, in.Merging = s.Image, s.Version, s.Staged, s.Merging
	}
	if diskErr != nil {
		in.Detail = protocol.Clean(diskErr.Error(), protocol.MaxText)
	}
	var out protocol.Order
	err := a.phase("check-in", nil, func() error {
		if err := a.server.PostJSON(ctx, protocol.PathCheckIn, &in, &out); err != nil {
			return err
		}
		return out.Validate()
	})
	if err != nil {
		return nil, untouched("check-in", err)
	}
	a.answered = true
	return &out, nil
}

// report tells the server how it ended. It gives up soon: the room waits.
func (a *agent) report(ctx context.Context, code int, failure error) error {
	if !a.answered {
		return nil // nobody is listening
	}
	ctx, cancel := context.WithTimeout(ctx, reportPatience)
	defer cancel()
	r := protocol.Report{Protocol: protocol.Version, ID: fmt.Sprint(time.Now().UnixNano()), Machine: a.id, Agent: version,
		Outcome: protocol.OutcomeKept, ExitCode: code, Phases: a.phases}
	if a.deploys {
		r.Outcome = protocol.OutcomeDone
	}
	if failure != nil {
		r.Outcome, r.Message = protocol.OutcomeFailed, protocol.Clean(failure.Error(), protocol.MaxDetail)
	}
	if a.machine != nil {
		s := a.machine.State()
		r.Image, r.Version = s.Image, s.Version
	}
	return a.server.PostJSON(ctx, protocol.PathReport, &r, nil)
}
