package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/cli"
	"troy/server/rooms/api"
)

// permitCommand returns the commands that sign what machines do only by the admin's signature.
func permitCommand(s *cli.Streams) *cobra.Command {
	about := map[trust.Scope]string{
		trust.Wipe:      "permit to erase a disk that holds something",
		trust.Reinstall: "permit to write a version over one that starts",
		trust.Downgrade: "permit to go back to an older version",
		trust.Capture:   "permit to make a version of what a machine holds",
		trust.Free:      "permit to make room on a disk",
		trust.Clear:     "permit to empty what a machine keeps",
	}
	cmd := group("permit", "sign what machines may lose", newPermitList(s), newPermitWithdraw(s))
	for _, scope := range trust.Scopes() {
		cmd.AddCommand(newPermit(s, scope, about[scope]))
	}
	return cmd
}

// permitCall works on the permits of a store.
type permitCall struct {
	*adminCall
	keys keyFlags
	repo *sign.Repository
}

func newPermitCall(s *cli.Streams) *permitCall { return &permitCall{adminCall: newAdminCall(s)} }

func (p *permitCall) open() (err error) {
	if err = p.imageCall.open(); err == nil {
		p.repo, err = p.repository(&p.keys)
	}
	return err
}

// permitting is "permit SCOPE".
type permitting struct {
	*permitCall
	scope     trust.Scope
	disks     cli.List
	until, to string
}

func newPermit(s *cli.Streams, scope trust.Scope, short string) *cobra.Command {
	p := &permitting{permitCall: newPermitCall(s), scope: scope}
	cmd := leaf(string(scope)+" [TARGET]… --until DATE", short, p.run)
	cmd.Long = `Sign a ` + short + `. It permits nothing else.
TARGET is a machine, a room, or a CSV file (NAME.csv) with a column name or serial (of the disk), as
'troy lab import-csv --help' describes tables. Names are those
that 'troy hosts confirm' has noted beside the admin key; what only the server knows by a name is
marked, and you are asked again. Machines compare their own key, or the serial number of the disk.
The next signing drops permits that have ended, and those that were used, as the server says.`
	fs := cmd.Flags()
	fs.Var(&p.disks, "disk", "the serial `number` of a disk, may be repeated")
	fs.StringVar(&p.until, "until", "", "last `day` on which it may happen, YYYY-MM-DD, in the time zone of this computer")
	if scope == trust.Downgrade {
		fs.StringVar(&p.to, "to", "", "the `IMAGE@VERSION` to which they may go back")
	}
	p.keys.define(fs)
	return p.withJSON(p.withServer(cmd))
}

func (p *permitting) run(ctx context.Context, args []string) error {
	sample := trust.Permit{Scope: p.scope}
	var err error
	if sample.Until, err = lastDay(p.until, time.Local); err != nil {
		return err
	}
	if p.scope == trust.Downgrade {
		to := promotion{}
		if err := to.target(p.to); err != nil {
			return cli.Usagef("--to %v", err)
		}
		sample.Image, sample.Version = to.p.Image, to.p.Version
	}
	if len(args)+len(p.disks) == 0 {
		return cli.Usagef("want the name of a machine or room, a CSV file, or --disk")
	}
	for _, serial := range p.disks {
		if err := forDisk(sample, serial).Check(); err != nil {
			return cli.Usagef("--disk: %v", err)
		}
	}
	if err := p.open(); err != nil {
		return err
	}
	if err := p.asked(ctx, len(args) > 0, func(admin api.Viewer) error { return p.sign(ctx, admin, sample, args, p.disks) }); err != nil {
		return trustFault(err)
	}
	return p.list(ctx)
}

// lastDay is the end of a day.
func lastDay(text string, zone *time.Location) (time.Time, error) {
	day, err := time.ParseInLocation(time.DateOnly, text, zone)
	if err != nil {
		return time.Time{}, cli.Usagef("--until %q: want a day as YYYY-MM-DD", text)
	}
	until := day.AddDate(0, 0, 1).Add(-time.Second)
	if time.Now().After(until) {
		return time.Time{}, cli.Usagef("--until %s is over", text)
	}
	return until, nil
}

// asked gives f the server, or nil where none can be asked: what the admin's own list has needs none.
// It says so if there are names to ask for.
func (p *permitCall) asked(ctx context.Context, names bool, f func(api.Viewer) error) error {
	var failed error // of f
	called := false
	err := p.connect(ctx)
	if err == nil {
		err = p.look(ctx, func(admin api.Admin) error {
			called, failed = true, f(admin)
			return failed
		})
	}
	if called {
		return failed
	}
	if names {
		p.Note("the server was not asked: %v", err)
	}
	return f(nil)
}

// sign resolves names and signs a permit like the sample for each machine or disk.
func (p *permitCall) sign(ctx context.Context, admin api.Viewer, sample trust.Permit, names, serials []string) error {
	r := &resolver{call: p, admin: admin, scope: sample.Scope}
	if err := r.resolve(ctx, names); err != nil {
		return err
	}
	var permits []trust.Permit
	for _, serial := range serials {
		permits = append(permits, *forDisk(sample, serial))
	}
	for _, s := range r.subjects {
		one := sample
		one.Name, one.Key, one.Disk = s.name, s.key, s.disk
		permits = append(permits, one)
	}
	if len(permits) == 0 {
		return &cli.Fault{Err: fmt.Errorf("%w: none of these has a key yet", errNobody), Fate: "nothing was signed"}
	}
	if err := r.vouched(); err != nil {
		return err
	}
	store, err := image.OpenStore(p.dir)
	if err != nil {
		return err
	}
	spent, err := used(ctx, admin)
	if err != nil {
		p.Note("which permits were used is not known: %v", err)
	}
	return p.repo.Permit(ctx, store, permits, spent, time.Now())
}

// ready makes sure that the store holds what is signed.
func (p *permitCall) ready(ctx context.Context) error {
	store, err := image.OpenStore(p.dir)
	if err != nil {
		return err
	}
	return p.repo.Ready(ctx, store)
}

func forDisk(sample trust.Permit, serial string) *trust.Permit {
	sample.Disk = serial
	return &sample
}

func newPermitList(s *cli.Streams) *cobra.Command {
	p := newPermitCall(s)
	cmd := leaf("list", "list the permits that are signed", func(ctx context.Context, _ []string) error {
		if err := p.open(); err != nil {
			return err
		}
		return p.list(ctx)
	})
	p.keys.defineTrust(cmd.Flags())
	return p.withStoreJSON(cmd)
}

func (p *permitCall) list(ctx context.Context) error {
	permits, err := p.repo.Permits(ctx)
	if err != nil {
		return trustFault(err)
	}
	if p.json {
		return p.JSON(append([]trust.Permit{}, permits...))
	}
	if len(permits) == 0 {
		fmt.Fprintln(p.Out, "no permit is signed")
	}
	for _, e := range permits {
		over := ""
		if time.Now().After(e.Until) {
			over = "  (ended)"
		} else if err := e.Void(); err != nil {
			over = fmt.Sprintf("  (permits nothing: %v)", err)
		}
		fmt.Fprintf(p.Out, "%s%s\n", cli.Clean(e.String()), over)
	}
	return nil
}

// withdrawing is "permit withdraw".
type withdrawing struct {
	*permitCall
	all bool
}

func newPermitWithdraw(s *cli.Streams) *cobra.Command {
	w := &withdrawing{permitCall: newPermitCall(s)}
	cmd := leaf("withdraw [TARGET]…", "sign that permits are no more", w.run)
	cmd.Long = `Sign that permits are no more. TARGET is a scope, or the name, key or serial number that
'troy permit list' shows.`
	cmd.Flags().BoolVar(&w.all, "all", false, "withdraw all permits")
	w.keys.define(cmd.Flags())
	return w.withStoreJSON(cmd)
}

func (w *withdrawing) run(ctx context.Context, args []string) error {
	if w.all == (len(args) > 0) {
		return cli.Usagef("want what to withdraw, or --all")
	}
	if err := w.open(); err != nil {
		return err
	}
	gone := func(text string, p trust.Permit) bool {
		return text == string(p.Scope) || text == p.Name || text == p.Key || strings.EqualFold(text, p.Disk)
	}
	list, err := w.repo.Permits(ctx)
	if err != nil {
		return trustFault(err)
	}
	for _, text := range args {
		if text == "" || !slices.ContainsFunc(list, func(p trust.Permit) bool { return gone(text, p) }) {
			return &cli.Fault{Err: fmt.Errorf("no permit is for %q", text), Fate: "nothing was withdrawn", Advice: "'troy permit list' lists them"}
		}
	}
	err = w.repo.Withdraw(ctx, w.store, func(p trust.Permit) bool {
		return w.all || slices.ContainsFunc(args, func(text string) bool { return gone(text, p) })
	}, time.Now())
	if err != nil {
		return trustFault(err)
	}
	return w.list(ctx)
}
