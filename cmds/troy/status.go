package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"troy/internal/cli"
	"troy/internal/progress"
	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/rooms"
	"troy/server/rooms/api"
)

const timeForm = "2006-01-02 15:04"

// sayZone says and returns the zone that times are in: that of lab.yaml, which command and page
// share.
func (a *adminCall) sayZone(ctx context.Context, admin api.Viewer) (*time.Location, error) {
	s, err := admin.Status(ctx)
	if err != nil {
		return nil, err
	}
	zone, err := time.LoadLocation(s.Zone)
	if err == nil {
		fmt.Fprintf(a.Out, "times in %s\n", zone)
	}
	return zone, err
}

// statusCall is one "status".
type statusCall struct {
	*adminCall
	nights int
}

func statusCommand(s *cli.Streams) *cobra.Command {
	a := &statusCall{adminCall: newAdminCall(s)}
	cmd := leaf("status", "show the state of all rooms", a.run)
	cmd.Flags().IntVar(&a.nights, "nights", 0, "show the history of so many `days` instead")
	return a.withJSON(a.withServer(cmd))
}

func (a *statusCall) run(ctx context.Context, _ []string) error {
	if a.nights < 0 {
		return cli.Usagef("--nights %d: want a number of days", a.nights)
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	return a.look(ctx, func(admin api.Admin) error {
		if a.nights > 0 {
			return a.sayNights(ctx, admin, a.nights)
		}
		s, err := admin.Status(ctx)
		if err != nil {
			return err
		}
		if a.json {
			return a.JSON(s)
		}
		a.sayStatus(s)
		return nil
	})
}

func (a *adminCall) sayStatus(s *rooms.Status) {
	if s.LabError != "" {
		fmt.Fprintf(a.Out, "lab.yaml is invalid; the last valid version stays in force:\n  %s\n", cli.Clean(s.LabError))
	}
	zone, err := time.LoadLocation(s.Zone)
	if err != nil {
		zone = time.UTC // the zone is said with each time
	}
	for i := range s.Rooms {
		a.sayRoom(&s.Rooms[i], zone)
	}
	for _, h := range s.Unknown {
		fmt.Fprintf(a.Out, "unknown machine %s (%s), code %s%s\n", cli.Clean(strings.Join(append(h.MACs, h.UUID), " ")), cli.Clean(h.Product), h.Code, doubt(&h))
	}
}

// doubt says why an unknown machine is not the one that it seems to be.
func doubt(h *rooms.Host) string {
	if h.Doubt == "" {
		return ""
	}
	return ": " + cli.Clean(h.Doubt)
}

func (a *adminCall) sayRoom(r *rooms.Room, zone *time.Location) {
	want := "nothing promoted"
	if r.Image != "" {
		want = fmt.Sprintf("%s version %d", r.Image, r.Want)
	}
	fmt.Fprintf(a.Out, "%-12s %-24s %s\n", cli.Clean(r.Name), want, counts(r))
	if r.Note != "" {
		fmt.Fprintf(a.Out, "%12s note: %s\n", "", cli.Clean(r.Note))
	}
	if r.Why != "" {
		fmt.Fprintf(a.Out, "%12s %s\n", "", cli.Clean(r.Why))
	}
	if n := r.Counts[rooms.PhaseWorking]; n > 0 {
		fmt.Fprintf(a.Out, "%12s %d at work, %s/s, about %s left\n", "", n, progress.Bytes(r.Rate), (time.Duration(r.Left) * time.Second).Round(time.Minute))
	}
	if c := r.Compared; c.Equal > 0 {
		fmt.Fprintf(a.Out, "%12s %d verified as a whole, since %s\n", "", c.Equal, c.Since.In(zone).Format(timeForm+" MST"))
	}
	if c := r.Compared; c.Ordered > 0 {
		fmt.Fprintf(a.Out, "%12s %d to be verified\n", "", c.Ordered)
	}
}

// counts writes how many machines are in which phase.
func counts(r *rooms.Room) string {
	parts := []string{fmt.Sprintf("%d machines", r.Machines)}
	for _, p := range []rooms.Phase{rooms.PhaseCurrent, rooms.PhaseOutdated, rooms.PhaseWorking, rooms.PhaseWaiting, rooms.PhaseSilent, rooms.PhasePermit, rooms.PhaseRefused, rooms.PhaseFailed, rooms.PhaseDown, rooms.PhaseNever, rooms.PhaseIdle} {
		if r.Counts[p] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", r.Counts[p], p))
		}
	}
	parts = append(parts, fmt.Sprintf("%d healthy", r.Healthy))
	if n := r.Counts[rooms.PhaseCurrent] - r.Healthy; n > 0 {
		parts = append(parts, fmt.Sprintf("%d of unknown health", n))
	}
	if r.Unnamed > 0 {
		parts = append(parts, fmt.Sprintf("%d unnamed", r.Unnamed))
	}
	if r.Alarms > 0 {
		parts = append(parts, fmt.Sprintf("%d need attention", r.Alarms))
	}
	return strings.Join(parts, ", ")
}

func (a *adminCall) sayNights(ctx context.Context, admin api.Admin, days int) error {
	list, err := admin.Nights(ctx, days)
	if err != nil {
		return err
	}
	if a.json {
		return a.JSON(list)
	}
	zone, err := a.sayZone(ctx, admin)
	if err != nil {
		return err
	}
	for _, n := range list {
		end := "closed"
		if !n.Closed {
			end = "open"
		}
		fmt.Fprintf(a.Out, "%s  %-12s %s version %d: %d done, %d failed, %d do not have it, %s fetched, %s\n", n.Begin.In(zone).Format(timeForm),
			cli.Clean(n.Room), n.Image, n.Version, n.Done, n.Failed, n.Missing, progress.Bytes(n.Bytes), end)
	}
	return nil
}

// hostsCall is one "hosts".
type hostsCall struct {
	*adminCall
	room string
	yaml bool
	keys keyFlags
}

func hostsCommand(s *cli.Streams) *cobra.Command {
	a := &hostsCall{adminCall: newAdminCall(s)}
	cmd := leaf("hosts [confirm|set-up|discard-setup] [ROOM|HOST]", "list or confirm machines", a.run)
	cmd.Long = `List machines: room, name, state, version, its health, the last check-in, the release of the agent,
and what there is to know besides.

'troy hosts confirm ROOM' or 'troy hosts confirm HOST' shows the
keys and serial numbers by which the server knows machines, asks whether these are yours, and notes
them beside the admin key, in confirmed.json. Only confirmed machines get what is secret.

'troy hosts set-up HOST' says that the setup of Windows on a machine is over, although its registry
does not. From its next start on the machine can be merged and replaced; what Windows wrote stays.
'troy hosts discard-setup HOST' discards what a setup that failed has done. At its next start the
machine takes the version that its room has, in the room's windows; if that is the same one, setup
begins again.`
	a.keys.broad = true
	a.keys.defineTrust(cmd.Flags())
	cmd.Flags().BoolVar(&a.keys.yes, "yes", false, "confirm without asking")
	cmd.Flags().StringVar(&a.room, "room", "", "only machines of this `room`")
	cmd.Flags().BoolVar(&a.yaml, "yaml", false, "print the machines that were assigned by hand as lines for lab.yaml")
	return a.withJSON(a.withServer(cmd))
}

func (a *hostsCall) run(ctx context.Context, args []string) error {
	acts := map[string]func(api.Admin) error{
		"confirm":       func(admin api.Admin) error { return a.confirm(ctx, admin, args[1]) },
		"set-up":        func(admin api.Admin) error { return a.endSetup(ctx, admin, args[1], false) },
		"discard-setup": func(admin api.Admin) error { return a.endSetup(ctx, admin, args[1], true) },
	}
	if len(args) > 0 && (len(args) != 2 || acts[args[0]] == nil) {
		return cli.Usagef("want nothing, confirm ROOM, confirm HOST, set-up HOST, or discard-setup HOST")
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	if len(args) > 0 {
		return a.change(ctx, acts[args[0]])
	}
	return a.look(ctx, func(admin api.Admin) error {
		list, err := admin.Hosts(ctx, a.room)
		switch {
		case err != nil:
			return err
		case a.yaml:
			return lab.WriteHosts(a.Out, assigned(list))
		case a.json:
			return a.JSON(list)
		}
		zone, err := a.sayZone(ctx, admin)
		if err != nil {
			return err
		}
		for i := range list {
			a.sayHost(&list[i], zone)
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
		n := lab.Host{Name: lab.Name(h.Name), Room: lab.Name(h.Room)}
		if n.MAC = lab.MAC(h.Line.MAC); n.MAC == "" {
			n.UUID = lab.UUID(h.Line.UUID)
		}
		hosts = append(hosts, n)
	}
	return hosts
}

func (a *adminCall) sayHost(h *rooms.Host, zone *time.Location) {
	name, has, agent := h.Name, "-", "-"
	if name == "" {
		name = "code " + h.Code
	}
	if h.Image != "" {
		if has = fmt.Sprintf("%s@%d", h.Image, h.Version); h.Another {
			has = "another " + has
		}
	}
	if h.Agent != "" {
		agent, _, _ = strings.Cut(h.Agent, " (") // the release, without what it was built from
	}
	seen := "never"
	if !h.Seen.IsZero() {
		seen = h.Seen.In(zone).Format(timeForm)
	}
	more, health := cmp.Or(h.Doubt, h.Error), string(h.Health)
	if more == "" {
		more = h.Unnamed
	}
	if more == "" && h.Keyed && !h.Confirmed {
		more = "not confirmed"
	}
	if h.Phase == rooms.PhaseCurrent && health == "" {
		health = "unknown"
		if more == "" {
			more = h.HealthWhy
		}
	}
	if more == "" && h.Direct > 0 {
		more = fmt.Sprintf("direct starts before: %d", h.Direct)
	}
	if h.Attention != "" && h.Attention != more {
		more = strings.TrimSuffix(h.Attention+"; "+more, "; ")
	}
	if h.Live != nil {
		more = fmt.Sprintf("%s %s of %s, %s/s", h.Live.Phase, progress.Bytes(h.Live.Done), progress.Bytes(h.Live.Total), progress.Bytes(h.Live.Rate))
	}
	fmt.Fprintf(a.Out, "%-12s %-16s %-9s %-20s %-8s %-16s agent %-10s %s\n", cli.Clean(h.Room), cli.Clean(name), h.Phase, cli.Clean(has), health, seen, cli.Clean(agent), cli.Clean(more))
}

// logCall is one "log".
type logCall struct {
	*adminCall
	failed bool
}

func logCommand(s *cli.Streams) *cobra.Command {
	a := &logCall{adminCall: newAdminCall(s)}
	cmd := leaf("log HOST", "show a machine's history and log", a.run)
	cmd.Long = "Show the history and the last log of a machine. HOST is its name, MAC address, UUID or code."
	cmd.Flags().BoolVar(&a.failed, "failed", false, "show the log of its last failure")
	return a.withJSON(a.withServer(cmd))
}

func (a *logCall) run(ctx context.Context, args []string) error {
	if err := a.connect(ctx); err != nil {
		return err
	}
	return a.look(ctx, func(admin api.Admin) error {
		d, err := admin.Host(ctx, args[0])
		if err != nil {
			return err
		}
		if a.json {
			return a.JSON(d)
		}
		zone, err := a.sayZone(ctx, admin)
		if err != nil {
			return err
		}
		a.sayLog(d, zone, a.failed)
		return nil
	})
}

// inWindows says what a machine is called in Windows, and what it lacks.
func inWindows(h *rooms.Host) string {
	text := cmp.Or(h.PCName, "as published")
	if h.WantPCName != "" && h.WantPCName != h.PCName {
		text += ", to be " + h.WantPCName
	}
	if h.Unnamed != "" {
		text += "; " + h.Unnamed
	}
	return text
}

// sayHardware tells what somebody needs who looks for a driver or a firmware update.
func (a *adminCall) sayHardware(in *protocol.CheckIn) {
	what := strings.TrimSpace(in.Machine.Vendor + " " + in.Machine.Product)
	fmt.Fprintf(a.Out, "%s, firmware %s\n", cli.Clean(cmp.Or(what, "unknown make")), cli.Clean(cmp.Or(in.FirmwareVersion, "unknown")))
	for _, d := range in.Devices {
		fmt.Fprintf(a.Out, "%s: %s\n", cli.Clean(d.Kind), cli.Clean(d.String()))
	}
}

func (a *adminCall) sayLog(d *api.HostDetail, zone *time.Location, failed bool) {
	a.sayHost(&d.Host, zone)
	if v := d.Verified; v != nil {
		fmt.Fprintf(a.Out, "compared %s: %s\n", v.At.In(zone).Format(timeForm), cli.Clean(v.String()))
	}
	if d.PCName != "" || d.WantPCName != "" {
		fmt.Fprintln(a.Out, cli.Clean("name in Windows: "+inWindows(&d.Host)))
	}
	if d.Setup != "" {
		fmt.Fprintf(a.Out, "setup of Windows: %s\n", cli.Clean(string(d.Setup)))
	}
	if in := d.CheckIn; in != nil {
		a.sayHardware(in)
	}
	for _, e := range d.History {
		fmt.Fprintf(a.Out, "%s  %-9s %s\n", e.At.In(zone).Format(timeForm), e.Kind, cli.Clean(e.Text))
	}
	if d.Report != nil {
		fmt.Fprintf(a.Out, "last report %s: %s, exit code %d %s\n", d.Report.At.In(zone).Format(timeForm), d.Report.Outcome, d.Report.ExitCode, cli.Clean(d.Report.Message))
		saySteps(a.Out, d.Report.Steps)
	}
	text := d.Log
	if failed {
		text = d.FailLog
	}
	for line := range strings.Lines(text) {
		fmt.Fprintln(a.Out, cli.Clean(strings.TrimRight(line, "\r\n")))
	}
}
