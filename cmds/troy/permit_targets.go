package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/cli"
	"troy/server/lab"
	"troy/server/rooms"
	"troy/server/rooms/api"
	"troy/server/state"
)

// errNobody: what was named leads to no machine.
var errNobody = errors.New("nobody to permit that to")

// subject is what one permit is for: a machine by its key, or a disk.
type subject struct {
	name, key, disk string
	hearsay         string // what only the server says of it; "" = nothing
}

// resolver finds out which machines or disks names mean. The admin's own list counts first: a server
// cannot give another machine a name of it.
type resolver struct {
	call  *permitCall
	admin api.Viewer // nil = no server can be asked
	scope trust.Scope

	own      []sign.Confirmed
	hosts    []rooms.Host
	subjects []subject
}

// resolve takes names of machines, rooms and CSV files.
func (r *resolver) resolve(ctx context.Context, names []string) (err error) {
	if r.own, err = r.call.repo.Confirmed(); err != nil {
		return err
	}
	if r.admin != nil && len(names) > 0 {
		if r.hosts, err = r.admin.Hosts(ctx, ""); err != nil {
			return err
		}
	}
	for _, name := range names {
		if strings.HasSuffix(strings.ToLower(name), ".csv") {
			err = r.table(ctx, name)
		} else {
			err = r.named(ctx, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// table takes the lines of a CSV file.
func (r *resolver) table(ctx context.Context, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	list, err := lab.ReadSubjects(file, f)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.Serial != "" {
			r.add(subject{name: s.Name, disk: s.Serial})
		} else if err := r.named(ctx, s.Name); err != nil {
			return err
		}
	}
	return nil
}

func (r *resolver) add(s subject) {
	if !slices.ContainsFunc(r.subjects, func(o subject) bool { return o.key == s.key && o.disk == s.disk }) {
		r.subjects = append(r.subjects, s)
	}
}

// named takes a machine, or the machines of a room.
func (r *resolver) named(ctx context.Context, name string) error {
	if i := slices.IndexFunc(r.own, func(c sign.Confirmed) bool { return c.Name == name }); i >= 0 {
		return r.take(&r.own[i], "", false)
	}
	found := false
	for i := range r.own {
		if r.own[i].Room == name {
			found = true
			if err := r.take(&r.own[i], "", true); err != nil {
				return err
			}
		}
	}
	for i := range r.hosts {
		if h := &r.hosts[i]; h.Name == name || h.Room == name {
			found = true
			if err := r.heard(ctx, h, h.Name != name); err != nil {
				return err
			}
		}
	}
	if !found {
		return &cli.Fault{Err: fmt.Errorf("%w: no machine and no room is called %q", errNobody, name), Fate: "nothing was signed",
			Advice: "'troy hosts' lists machines, --disk names the serial number of a disk"}
	}
	return nil
}

// heard takes a machine of which the server tells.
func (r *resolver) heard(ctx context.Context, h *rooms.Host, ofRoom bool) error {
	if i := slices.IndexFunc(r.own, func(c sign.Confirmed) bool { return c.Name == h.Name }); i >= 0 {
		if r.own[i].Room == h.Room { // taken with the room
			return nil
		}
		return r.take(&r.own[i], fmt.Sprintf("that it is in room %s; your list has it in %s", h.Room, r.own[i].Room), ofRoom)
	}
	c := sign.Confirmed{Name: h.Name, Room: h.Room}
	if h.Keyed {
		c.Key = h.Pin
	}
	if h.ID != "" {
		d, err := r.admin.Host(ctx, h.ID)
		if err != nil {
			return err
		}
		if d.CheckIn != nil {
			for _, disk := range d.CheckIn.Disks {
				if disk.Serial != "" {
					c.Disks = append(c.Disks, disk.Serial)
				}
			}
		}
	}
	return r.take(&c, "which machine that is", ofRoom)
}

// take makes a machine a subject: a wipe names its disk, all else its key. A machine of a room that
// has neither is passed over.
func (r *resolver) take(c *sign.Confirmed, hearsay string, ofRoom bool) error {
	s := subject{name: c.Name, key: c.Key, hearsay: hearsay}
	if r.scope == trust.Wipe && len(c.Disks) > 0 {
		if len(c.Disks) > 1 {
			return &cli.Fault{Err: fmt.Errorf("%s has %d disks: %s", c.Name, len(c.Disks), serial(c.Disks...)), Fate: "nothing was signed", Advice: "--disk names the one that may be erased"}
		}
		s.key, s.disk = "", c.Disks[0]
	}
	switch {
	case s.key != "" || s.disk != "":
		r.add(s)
	case ofRoom:
		r.call.Note("%s is left out: no key and no disk of it is known", cli.Clean(c.Name))
	default:
		return &cli.Fault{Err: fmt.Errorf("no key and no disk with a serial number is known of %s", c.Name), Fate: "nothing was signed", Advice: "'troy disk prepare' prepares its disk by hand, at the PC"}
	}
	return nil
}

// vouched asks once more about what only the server says. Without a person at a terminal that is not
// signed, whatever the command line says.
func (r *resolver) vouched() error {
	list := slices.DeleteFunc(slices.Clone(r.subjects), func(s subject) bool { return s.hearsay == "" })
	if len(list) == 0 {
		return nil
	}
	for _, s := range list {
		which := "key " + s.key
		if s.disk != "" {
			which = fmt.Sprintf("disk %q", s.disk)
		}
		fmt.Fprintf(r.call.Err, "ONLY THE SERVER SAYS %s: %s, %s\n", cli.Clean(s.hearsay), cli.Clean(s.name), cli.Clean(which))
	}
	advice := "'troy hosts confirm " + list[0].name + "' notes a machine in your own list, --disk names the serial number of a disk"
	if r.call.terminal() == nil {
		return &cli.Fault{Err: fmt.Errorf("%d machines are known to the server alone, and there is no terminal to ask whether it is right", len(list)), Fate: "nothing was signed", Advice: advice}
	}
	alone := keyFlags{}
	if err := alone.ask(r.call.call, "is the server right about these? yes or no: "); err != nil {
		return &cli.Fault{Err: err, Fate: "nothing was signed", Advice: advice}
	}
	return nil
}

// used tells which permits were used, as a server says: it can only have too much dropped.
func used(ctx context.Context, admin api.Viewer) (func(trust.Permit) bool, error) {
	if admin == nil {
		return nil, nil
	}
	list, err := admin.Hosts(ctx, "")
	if err != nil {
		return nil, err
	}
	type did struct {
		key   string
		disks []string
		last  state.Attempt
	}
	var all []did
	for _, h := range list {
		if h.Last == nil || h.Last.Result != state.ResultDone {
			continue
		}
		d := did{key: h.Pin, last: *h.Last}
		detail, err := admin.Host(ctx, h.ID)
		if errors.Is(err, rooms.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if detail.CheckIn != nil {
			for _, disk := range detail.CheckIn.Disks {
				d.disks = append(d.disks, disk.Serial)
			}
		}
		all = append(all, d)
	}
	return func(p trust.Permit) bool {
		return slices.ContainsFunc(all, func(d did) bool {
			mine := p.Key != "" && d.key == p.Key || p.Disk != "" && slices.ContainsFunc(d.disks, func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), p.Disk) })
			return mine && d.last.Ended.After(p.Signed) && uses(&d.last, &p)
		})
	}, nil
}

// uses tells whether what a machine has done took a permit.
func uses(a *state.Attempt, p *trust.Permit) bool {
	switch p.Scope {
	case trust.Wipe:
		return a.Work == state.WorkProvision
	case trust.Reinstall:
		return a.Work == state.WorkReinstall
	case trust.Downgrade:
		return a.Image == p.Image && a.Version == p.Version
	}
	return false
}
