package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"troy/image/trust/sign"
	"troy/internal/cli"
	"troy/server/rooms"
	"troy/server/rooms/api"
)

// confirm shows machines, asks whether they are what they seem to be, and notes that beside the admin
// key and at the server.
func (a *hostsCall) confirm(ctx context.Context, admin api.Admin, target string) error {
	machines, err := a.confirmable(ctx, admin, target)
	if err != nil {
		return err
	}
	if len(machines) == 0 {
		fmt.Fprintln(a.Out, "nothing to confirm: no machine with a key on a finished disk waits for that")
		return nil
	}
	repo, err := a.repository(&a.keys)
	if err != nil {
		return err
	}
	for _, m := range machines {
		fmt.Fprintf(a.Err, "%-12s room %s, board %s, disks %s\n%12s key %s\n", cli.Clean(m.Name), cli.Clean(m.Room), serial(m.Board), serial(m.Disks...), "", m.Key)
	}
	if err := a.keys.ask(a.call, "are these your machines? yes or no: "); err != nil {
		return &cli.Fault{Err: err, Fate: "nothing was confirmed"}
	}
	if err := repo.Confirm(machines); err != nil {
		return trustFault(err)
	}
	for _, m := range machines {
		if err := admin.Confirm(ctx, m.Name, m.Key); err != nil {
			fate := "noted beside the admin key, not at the server"
			if errors.Is(err, api.ErrLost) {
				fate = "noted beside the admin key; it is not known whether at the server"
			}
			return &cli.Fault{Err: err, Fate: fate, Advice: "run the command again"}
		}
		fmt.Fprintf(a.Out, "%s is confirmed\n", cli.Clean(m.Name))
	}
	return nil
}

// confirmable are the machines of a room that wait to be confirmed, or the one machine of that name.
func (a *hostsCall) confirmable(ctx context.Context, admin api.Admin, target string) ([]sign.Confirmed, error) {
	list, err := admin.Hosts(ctx, target)
	one := errors.Is(err, rooms.ErrNotFound) || err == nil && len(list) == 0
	if one {
		var d *api.HostDetail
		if d, err = admin.Host(ctx, target); err == nil {
			list = []rooms.Host{d.Host}
		}
	}
	if err != nil {
		return nil, err
	}
	var machines []sign.Confirmed
	for _, h := range list {
		if !h.Keyed || h.Confirmed && !one {
			continue
		}
		d, err := admin.Host(ctx, h.ID)
		if err != nil {
			return nil, err
		}
		m := sign.Confirmed{Name: h.Name, Room: h.Room, Key: h.Pin, Time: time.Now().UTC().Truncate(time.Second)}
		if in := d.CheckIn; in != nil {
			m.Board = in.Machine.Serial
			for _, disk := range in.Disks {
				if disk.Serial != "" {
					m.Disks = append(m.Disks, disk.Serial)
				}
			}
		}
		machines = append(machines, m)
	}
	return machines, nil
}

// serial writes serial numbers as a machine tells them.
func serial(texts ...string) string {
	text := strings.Trim(strings.Join(texts, ", "), " ")
	if text == "" {
		return "without a number"
	}
	return cli.Clean(text)
}
