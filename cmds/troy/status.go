package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"troy/internal/progress"
	"troy/server/lab"
	"troy/server/rooms"
	"troy/server/rooms/api"
)

const (
	adminArgs = "[--store DIR] [--server URL] [--token-file FILE] [--json] "
	timeForm  = "2006-01-02 15:04"
)

func statusCommand() command {
	return command{name: "status", args: adminArgs + "[--nights DAYS]", short: "how the rooms stand, or what came of the last nights", run: runStatus}
}

func hostsCommand() command {
	return command{name: "hosts", args: adminArgs + "[--room ROOM] [--yaml]", short: "the machines, their versions and what they do", run: runHosts}
}

func logCommand() command {
	return command{name: "log", args: adminArgs + "[--failed] HOST", short: "history and last log of a machine, by name, MAC address, UUID or code", run: runLog}
}

func runStatus(ctx context.Context, c *call) error {
	a := newAdminCall(c)
	nights := a.fs.Int("nights", 0, "show the history of so many `days` instead")
	if _, err := a.connect(0, 0); err != nil {
		return err
	}
	return a.look(ctx, func(admin api.Admin) error {
		if *nights > 0 {
			return a.nights(ctx, admin, *nights)
		}
		s, err := admin.Status(ctx)
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(s)
		}
		a.sayStatus(s)
		return nil
	})
}

func (a *adminCall) sayStatus(s *rooms.Status) {
	if s.LabError != "" {
		fmt.Fprintf(a.stdout, "lab.yaml on the disk is not valid, an older state of it is in force:\n  %s\n", clean(s.LabError))
	}
	for i := range s.Rooms {
		a.sayRoom(&s.Rooms[i])
	}
	for _, h := range s.Unknown {
		fmt.Fprintf(a.stdout, "nobody knows %s (%s, %s), it shows %s\n", clean(h.Key), clean(strings.Join(h.MACs, " ")), clean(h.Product), h.Code)
	}
}

func (a *adminCall) sayRoom(r *rooms.Room) {
	want := "nothing promoted"
	if r.Image != "" {
		want = fmt.Sprintf("%s version %d", r.Image, r.Want)
	}
	fmt.Fprintf(a.stdout, "%-12s %-24s %s\n", clean(r.Name), want, counts(r))
	if r.Why != "" {
		fmt.Fprintf(a.stdout, "%12s %s\n", "", clean(r.Why))
	}
	if n := r.Counts[rooms.PhaseWorking]; n > 0 {
		fmt.Fprintf(a.stdout, "%12s %d at work, %s/s, about %s left\n", "", n, progress.Bytes(r.Rate), (time.Duration(r.Left) * time.Second).Round(time.Minute))
	}
}

// counts writes how many machines are in which phase.
func counts(r *rooms.Room) string {
	parts := []string{fmt.Sprintf("%d machines", r.Machines)}
	for _, p := range []rooms.Phase{rooms.PhaseCurrent, rooms.PhaseOutdated, rooms.PhaseWorking, rooms.PhaseWaiting, rooms.PhaseSilent, rooms.PhasePermit, rooms.PhaseFailed, rooms.PhaseNever, rooms.PhaseIdle} {
		if r.Counts[p] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", r.Counts[p], p))
		}
	}
	return strings.Join(append(parts, fmt.Sprintf("%d healthy", r.Healthy)), ", ")
}

func (a *adminCall) nights(ctx context.Context, admin api.Historian, days int) error {
	list, err := admin.Nights(ctx, days)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	for _, n := range list {
		end := "closed"
		if !n.Closed {
			end = "open"
		}
		fmt.Fprintf(a.stdout, "%s  %-12s %s version %d: %d done, %d failed, %d do not have it, %s fetched, %s\n", n.Begin.Local().Format(timeForm),
			clean(n.Room), n.Image, n.Version, n.Done, n.Failed, n.Missing, progress.Bytes(n.Bytes), end)
	}
	return nil
}

func runHosts(ctx context.Context, c *call) error {
	a := newAdminCall(c)
	room := a.fs.String("room", "", "only of this `room`")
	yaml := a.fs.Bool("yaml", false, "print the machines that were assigned by hand as lines for lab.yaml")
	if _, err := a.connect(0, 0); err != nil {
		return err
	}
	return a.look(ctx, func(admin api.Admin) error {
		list, err := admin.Hosts(ctx, *room)
		switch {
		case err != nil:
			return err
		case *yaml:
			return lab.WriteHosts(a.stdout, assigned(list))
		case a.json:
			return a.printJSON(list)
		}
		for i := range list {
			a.sayHost(&list[i])
		}
		return nil
	})
}

// assigned makes lines for lab.yaml of machines that it does not name.
func assigned(list []rooms.Host) (hosts []lab.Host) {
	for _, h := range list {
		if !h.Assigned {
			continue
		}
		n := lab.Host{Name: lab.Name(h.Name), Room: lab.Name(h.Room), UUID: lab.UUID(h.UUID)}
		if h.UUID == "" && len(h.MACs) > 0 {
			n.MAC = lab.MAC(h.MACs[0])
		}
		hosts = append(hosts, n)
	}
	return hosts
}

func (a *adminCall) sayHost(h *rooms.Host) {
	name, has := h.Name, "-"
	if name == "" {
		name = "code " + h.Code
	}
	if h.Image != "" {
		has = fmt.Sprintf("%s@%d", h.Image, h.Version)
	}
	seen := "never"
	if !h.Seen.IsZero() {
		seen = h.Seen.Local().Format(timeForm)
	}
	more := h.Error
	if h.Live != nil {
		more = fmt.Sprintf("%s %s of %s, %s/s", h.Live.Phase, progress.Bytes(h.Live.Done), progress.Bytes(h.Live.Total), progress.Bytes(h.Live.Rate))
	}
	fmt.Fprintf(a.stdout, "%-12s %-16s %-9s %-20s %-8s %-16s %s\n", clean(h.Room), clean(name), h.Phase, clean(has), clean(string(h.Health)), seen, clean(more))
}

func runLog(ctx context.Context, c *call) error {
	a := newAdminCall(c)
	failed := a.fs.Bool("failed", false, "the log of the last report of a failure")
	args, err := a.connect(1, 1)
	if err != nil {
		return err
	}
	return a.look(ctx, func(admin api.Admin) error {
		d, err := admin.Host(ctx, args[0])
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(d)
		}
		a.sayLog(d, *failed)
		return nil
	})
}

func (a *adminCall) sayLog(d *api.HostDetail, failed bool) {
	a.sayHost(&d.Host)
	for _, e := range d.History {
		fmt.Fprintf(a.stdout, "%s  %-9s %s\n", e.At.Local().Format(timeForm), e.Kind, clean(e.Text))
	}
	if d.Report != nil {
		fmt.Fprintf(a.stdout, "last report %s: %s, exit code %d %s\n", d.Report.At.Local().Format(timeForm), d.Report.Outcome, d.Report.ExitCode, clean(d.Report.Message))
		saySteps(a.stdout, d.Report.Steps)
	}
	text := d.Log
	if failed {
		text = d.FailLog
	}
	for line := range strings.Lines(text) {
		fmt.Fprintln(a.stdout, clean(strings.TrimRight(line, "\r\n")))
	}
}

// adminCommands are those that ask a server with a lab.yaml.
func adminCommands() []command {
	return slices.Concat([]command{promoteCommand(), rollbackCommand(), stopCommand(), assignCommand(), wakeCommand()},
		[]command{statusCommand(), hostsCommand(), logCommand()})
}
