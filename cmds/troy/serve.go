package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"troy/image"
	"troy/image/trust/sign"
	"troy/internal/progress"
	"troy/server"
	"troy/server/protocol"
)

func serveCommand() command {
	return command{
		name: "serve", args: "[--listen ADDR] [--image NAME] [--version N] [--merge lazy|now] [--provision] [--reinstall] [--reset] [--agent] [--retry] [--rate MBIT] [--log FILE] [--boot DIR [--no-dhcp]] [--certs DIR] DIR | --lab FILE [--listen ADDR] [--rate MBIT] [--log FILE] [--boot DIR [--no-dhcp]] [--certs DIR] DIR",
		short: "serve the store and answer the machines", run: runServe,
	}
}

// serveFlags are those of "troy serve" about the store and what machines are told, and frontFlags.
type serveFlags struct {
	listen, image, merge, lab, log    string
	version                           int
	rate                              float64
	provision, wipe, reinstall, reset bool
	agent, retry                      bool
	around                            *frontFlags
}

func newServeFlags(fs flagSet) *serveFlags {
	f := &serveFlags{}
	fs.StringVar(&f.listen, "listen", ":8080", "`address` to listen on")
	fs.StringVar(&f.image, "image", "", "image that the machines get (default: the only one)")
	fs.IntVar(&f.version, "version", 0, "version that they get (default: the newest)")
	fs.StringVar(&f.merge, "merge", "lazy", "merge policy: `lazy` or now")
	fs.Float64Var(&f.rate, "rate", 0, "most `megabits` per second of the store's bytes, shared evenly by the machines (0: no limit)")
	fs.BoolVar(&f.provision, "provision", false, "make an empty disk of a machine without one of Troy into its disk")
	fs.BoolVar(&f.wipe, "wipe", false, "with --provision: also one that holds something, where troy key wipe permits it")
	fs.BoolVar(&f.reinstall, "reinstall", false, "write machines anew that hold another image, or a version that nobody knows")
	fs.BoolVar(&f.reset, "reset", false, "throw away at each start what was changed in Windows since the last one")
	fs.BoolVar(&f.agent, "agent", false, "bring the current release of the agent (troy agent) to the machines' own disks")
	fs.BoolVar(&f.retry, "retry", false, "have machines try again a version that they gave up, because Windows did not come up")
	fs.StringVar(&f.lab, "lab", "", "`file` lab.yaml that says which rooms get what and when, in place of --image and the flags about it")
	fs.StringVar(&f.log, "log", "", "`file` to which check-ins, reports and answers from the store are added as lines of JSON")
	f.around = newFrontFlags(fs)
	return f
}

// check refuses what does not go together.
func (f *serveFlags) check(fs flagSet) error {
	if m := protocol.Merge(f.merge); m != protocol.MergeLazy && m != protocol.MergeNow {
		return &usageError{fmt.Sprintf("--merge %q: want lazy or now", f.merge)}
	}
	if !(f.rate >= 0 && f.rate <= 1e6) {
		return &usageError{fmt.Sprintf("--rate %v: want megabits per second, or 0", f.rate)}
	}
	if f.lab == "" {
		return nil
	}
	return onlyFlags(fs, append([]string{"lab", "listen", "rate", "log"}, frontFlagNames()...)...)
}

func runServe(ctx context.Context, c *call) error {
	fs := c.flags()
	f := newServeFlags(fs)
	args, err := c.parse(fs, 1, 1)
	if err == nil {
		err = f.check(fs)
	}
	if err != nil {
		return err
	}
	store, err := image.OpenStore(args[0])
	if err != nil {
		return err
	}
	o := &server.Options{Dir: args[0], Bandwidth: int64(f.rate * 1e6 / 8)}
	what, lab := "the rooms of "+clean(f.lab), (*labServer)(nil)
	if f.lab != "" {
		if lab, err = c.openLab(store, args[0], f.lab, o); err != nil {
			return err
		}
		defer lab.state.Close()
	} else if what, err = c.fixOrders(ctx, f, store, o); err != nil {
		return err
	}
	log, err := openEventLog(f.log)
	if err != nil {
		return err
	}
	defer log.Close()
	c.tell(o, log)
	s, err := server.New(o)
	if err != nil {
		return err
	}
	defer s.Close()
	c.keepSigned(ctx, args[0])
	return c.serveAll(ctx, f, what, lab, o, s)
}

// fixOrders has every machine told the same, and says what.
func (c *call) fixOrders(ctx context.Context, f *serveFlags, store *image.Store, o *server.Options) (what string, err error) {
	orders, err := fixedOrders(ctx, store, f.image, f.version, protocol.Merge(f.merge))
	if err != nil {
		return "", err
	}
	orders.Reinstall, orders.Reset, orders.Retry = f.reinstall, f.reset, f.retry
	if f.agent {
		orders.Agent = func() string { return c.currentAgent(store) }
	}
	if f.provision {
		orders.Provision = &protocol.Provision{Wipe: f.wipe}
	}
	o.Orders = orders
	return orders.Image + " to every machine", nil
}

// tell shows what happens, and keeps it in the log.
func (c *call) tell(o *server.Options, log *eventLog) {
	o.OnServed = func(name string, bytes int64) { log.add(event{Served: &served{name, bytes}}) }
	o.OnCheckIn = func(in protocol.CheckIn, o protocol.Order, err error) {
		c.sayCheckIn(in, o, err)
		log.add(event{CheckIn: &in, Order: &o})
	}
	o.OnReport = func(r protocol.Report) {
		c.sayReport(r)
		log.add(event{Report: &r})
	}
}

// serveAll opens the ports and serves until ctx ends.
func (c *call) serveAll(ctx context.Context, f *serveFlags, what string, lab *labServer, o *server.Options, s *server.Server) error {
	l, err := net.Listen("tcp", f.listen)
	if err != nil {
		return err
	}
	if lab != nil {
		if err := lab.run(ctx, l); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	w, err := c.openFront(f.around, lab, o, s, l)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer w.close()
	w.told(what, l)
	if err := notifyReady(); err != nil {
		return errors.Join(err, l.Close())
	}
	err = w.run(ctx, l)
	bytes, requests := s.Served()
	fmt.Fprintf(c.stdout, "served %s (%d bytes) in %d requests\n", progress.Bytes(bytes), bytes, requests)
	return err
}

// onlyFlags refuses every flag that was given but for those named.
func onlyFlags(fs flagSet, names ...string) (err error) {
	fs.Visit(func(f *flag.Flag) {
		if !slices.Contains(names, f.Name) && err == nil {
			err = &usageError{"--" + f.Name + " does not go with --" + names[0] + ": the file says it"}
		}
	})
	return err
}

// currentAgent is the release that machines shall have; "" if there is none.
func (c *call) currentAgent(store *image.Store) string {
	_, current, err := sign.AgentReleases(store)
	if err != nil {
		fmt.Fprintf(c.stderr, "troy: releases of the agent: %v\n", err)
	}
	return current
}

// fixedOrders checks that what is to be deployed exists, so that a mistake shows here and not on thirty screens.
func fixedOrders(ctx context.Context, store *image.Store, name string, number int, policy protocol.Merge) (*server.Fixed, error) {
	if name == "" {
		names, err := store.Images()
		if err != nil {
			return nil, err
		}
		if len(names) != 1 {
			return nil, fmt.Errorf("the store holds %d images (%s), choose one with --image", len(names), strings.Join(names, ", "))
		}
		name = names[0]
	}
	newest := func(ctx context.Context, name string) (int, error) {
		index, err := image.LoadIndex(ctx, store, name)
		if err != nil {
			return 0, err
		}
		return index.Latest(), nil
	}
	latest, err := newest(ctx, name)
	if err != nil {
		return nil, err
	}
	if latest == 0 {
		return nil, errors.New("image " + name + " has no version yet")
	}
	if number != 0 {
		if _, err := store.Show(ctx, name, number); err != nil {
			return nil, err
		}
	}
	return &server.Fixed{Image: name, Version: number, Newest: newest, Merge: policy}, nil
}

func (c *call) sayCheckIn(in protocol.CheckIn, o protocol.Order, err error) {
	if err != nil {
		fmt.Fprintf(c.stdout, "%s  %s: no order: %v\n", time.Now().Format(time.TimeOnly), in.Machine.Key(), err)
		return
	}
	fmt.Fprintf(c.stdout, "%s  %q: has %q version %d, order: %s %q version %d%s\n", time.Now().Format(time.TimeOnly),
		in.Machine.Key(), in.Image, in.Version, o.Action, o.Image, o.Version, detail(in.Detail))
}

func (c *call) sayReport(r protocol.Report) {
	fmt.Fprintf(c.stdout, "%s  %q: %s, %q version %d, exit code %d%s\n", time.Now().Format(time.TimeOnly),
		r.Machine.Key(), r.Outcome, r.Image, r.Version, r.ExitCode, detail(r.Message))
	for _, p := range r.Phases {
		fmt.Fprintf(c.stdout, "          %-10s %7.2f s", p.Name, p.Seconds)
		if p.Bytes > 0 {
			fmt.Fprintf(c.stdout, "  %s", progress.Bytes(p.Bytes))
		}
		fmt.Fprintln(c.stdout)
	}
}

// detail quotes what a machine claims, so that it cannot draw on the admin's terminal.
func detail(text string) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf(" (%q)", text)
}
