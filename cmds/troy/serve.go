package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"troy/image"
	"troy/image/trust/sign"
	"troy/internal/cli"
	"troy/internal/progress"
	"troy/server/daemon"
	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

func serveCommand(s *cli.Streams) *cobra.Command {
	f := &serveFlags{call: newCall(s)}
	cmd := leaf("serve DIR", "serve a store and its rooms", nil)
	f.define(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) }
	return cmd
}

// options are those of the daemon for the store at dir.
func (f *serveFlags) options(dir string) (*daemon.Options, error) {
	o := &daemon.Options{Dir: dir, Listen: f.listen, Lab: f.lab, Bandwidth: int64(f.rate * 1e6 / 8), EventLog: f.log,
		Certs: f.around.certs, TLSListen: f.around.tlsListen, Public: f.around.public,
		NotifySocket: os.Getenv("NOTIFY_SOCKET")}
	var err error
	o.Boot, err = f.around.bootOptions()
	return o, err
}

func (f *serveFlags) run(cmd *cobra.Command, args []string) error {
	if err := f.check(); err != nil {
		return err
	}
	o, err := f.options(args[0])
	if err != nil {
		return err
	}
	return f.serve(cmd.Context(), o)
}

// serve opens the daemon, says where it is, and serves until ctx ends.
func (c *call) serve(ctx context.Context, o *daemon.Options) error {
	// Asked for first: a reload that comes while the daemon starts would end the process.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	o.Events = daemon.Events{CheckIn: c.sayCheckIn, Report: c.sayReport, Warn: c.warn,
		Note: func(line string) { fmt.Fprintf(c.Out, "%s  %s\n", time.Now().Format(time.TimeOnly), cli.Clean(line)) }}
	d, err := daemon.New(ctx, o)
	if err != nil {
		return labFault(c.Streams, serveAdvice(err, o))
	}
	defer d.Close()
	c.sayServing(d, o)
	for _, line := range d.Next(ctx) {
		fmt.Fprintf(c.Out, "next: %s\n", cli.Clean(line))
	}
	go reloadOn(ctx, hup, d)
	err = d.Run(ctx)
	bytes, requests := d.Served()
	fmt.Fprintf(c.Out, "served %s (%d bytes) in %d requests\n", progress.Bytes(bytes), bytes, requests)
	return err
}

// serveAdvice names the command that helps where the store or lab.yaml lacks something. These do not
// mend themselves: with that exit code a service manager does not try again.
func serveAdvice(err error, o *daemon.Options) error {
	var damaged *state.DamagedError
	final := fmt.Errorf("%w: %w", cli.ErrCheck, err)
	switch {
	case errors.As(err, &damaged):
		return &cli.Fault{Err: final, Fate: "nothing was changed", Advice: damaged.WayBack()}
	case errors.Is(err, sign.ErrUnsigned):
		return unsigned(final, o.Dir)
	case errors.Is(err, image.ErrNotFound):
		return &cli.Fault{Err: final, Advice: "'troy init " + o.Dir + "' makes a store"}
	}
	switch _, cause := os.ReadFile(o.Lab); {
	case o.Lab == "" || cause == nil || errors.As(err, &lab.Errors{}):
		return err
	case errors.Is(cause, fs.ErrNotExist):
		return &cli.Fault{Err: final, Advice: "'troy lab init " + o.Lab + "' writes one"}
	case errors.Is(cause, fs.ErrPermission):
		return &cli.Fault{Err: final, Advice: "the user that runs the server has to be able to read it"}
	}
	return final
}

// reloadOn has lab.yaml read again at each signal, until ctx ends.
func reloadOn(ctx context.Context, signals <-chan os.Signal, d *daemon.Daemon) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			d.Reload()
		}
	}
}

// warn tells on the standard error what keeps machines from being served as asked for.
func (c *call) warn(line string) { fmt.Fprintf(c.Err, "troy: note: %s\n", cli.Clean(line)) }

// sayServing says where things are served.
func (c *call) sayServing(d *daemon.Daemon, o *daemon.Options) {
	lacks, dhcp := d.BootAdvice()
	for _, line := range lacks {
		fmt.Fprintf(c.Err, "troy: %s\n", line)
	}
	fmt.Fprint(c.Out, dhcp)
	fmt.Fprintf(c.Out, "serving the rooms of %s on https://%s, files also on http://%s\n", cli.Clean(d.Lab()), d.TLS(), d.Plain())
	fmt.Fprintf(c.Out, "key of this server: %s\n", d.Key())
	if o.Boot != nil {
		fmt.Fprintf(c.Out, "network boot from %s\n", o.Boot.Dir)
	}
	fmt.Fprintf(c.Out, "status page at %s\n", d.Page())
}

func (c *call) sayCheckIn(in protocol.CheckIn, o protocol.Order, err error) {
	if err != nil {
		fmt.Fprintf(c.Out, "%s  %q: no order: %v\n", time.Now().Format(time.TimeOnly), in.Machine.String(), err)
		return
	}
	want := "nothing"
	if o.Want != nil {
		want = fmt.Sprintf("%q version %d", o.Want.Image, o.Want.Version)
	}
	fmt.Fprintf(c.Out, "%s  %q: has %q version %d, wanted: %s%s\n", time.Now().Format(time.TimeOnly),
		in.Machine.String(), in.Image, in.Version, want, detail(in.Detail))
}

func (c *call) sayReport(r protocol.Report) {
	fmt.Fprintf(c.Out, "%s  %q: %s, %q version %d, exit code %d%s\n", time.Now().Format(time.TimeOnly),
		r.Machine.String(), r.Outcome, r.Image, r.Version, r.ExitCode, detail(r.Message))
	saySteps(c.Out, r.Steps)
}

// saySteps lists the steps of a start.
func saySteps(w io.Writer, steps []protocol.Step) {
	for _, s := range steps {
		fmt.Fprintf(w, "          %-10s %7.2f s", cli.Clean(s.Kind), s.Seconds)
		if s.Fetched > 0 {
			fmt.Fprintf(w, "  %s fetched", progress.Bytes(s.Fetched))
		}
		if s.Written > 0 {
			fmt.Fprintf(w, "  %s written", progress.Bytes(s.Written))
		}
		fmt.Fprintf(w, "  %s", cli.Clean(s.Reason))
		if s.Error != "" {
			fmt.Fprintf(w, "; failed: %s", cli.Clean(s.Error))
		}
		fmt.Fprintln(w)
	}
}

// detail quotes what a machine claims, so that it cannot draw on the admin's terminal.
func detail(text string) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf(" (%q)", text)
}
