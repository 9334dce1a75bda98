package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"troy/netfetch"
)

// options is what the kernel command line or flags say.
type options struct {
	net      netfetch.Params // addresses and servers; no server = what DHCP names, else none
	disk     string          // disk or image file; empty = all disks of the machine
	shell    bool            // do not reset at the end
	drivers  bool            // load drivers first
	linkUp   bool            // bring up the network
	handOff  bool            // hand the machine to Windows
	workers  int             // ranges fetched at once; 0 = default
	dmi      string          // folder of the firmware's tables
	media    string          // folder of what the boot media carry
	unsigned bool            // signatures are not checked
	diskWait bool            // wait for a disk to appear
	patience time.Duration   // how long a server that does not answer is asked again; 0 = serverPatience
}

// version of the program as the server hears it.
const version = "troy-deploy/1"

func main() {
	os.Exit(run(os.Args[1:], os.Stdout))
}

// run parses, works and returns the exit code. When the machine is handed over it does not return.
func run(args []string, out io.Writer) int {
	o := options{drivers: true, linkUp: true, handOff: true, diskWait: true, dmi: "/sys/class/dmi/id", media: mediaDir}
	if err := o.parse(args, out); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitDone
		}
		fmt.Fprintf(out, "deploy: %v\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return newAgent(&o, out).run(ctx)
}

// parse reads the kernel command line first, then flags, so that a person at the rescue shell has the last word.
func (o *options) parse(args []string, out io.Writer) error {
	cmdline, _ := os.ReadFile("/proc/cmdline") // without /proc there are only flags
	config, err := os.ReadFile(filepath.Join(o.media, "config"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(out, "deploy: boot media: %v; going on without\n", err)
	}
	text := string(config) + "\n" + string(cmdline)
	if err := o.parseKernel(text); err != nil {
		fmt.Fprintf(out, "deploy: kernel command line: %v; going on without\n", err)
	}
	flags := flag.NewFlagSet("deploy", flag.ContinueOnError)
	flags.SetOutput(out)
	var words []string
	word := func(key string) func(string) error {
		return func(value string) error { words = append(words, key+"="+value); return nil }
	}
	flags.Func("server", "`URL` of the server", word("troy.server"))
	flags.Func("ip", "static `address` instead of DHCP, such as 192.0.2.10/24,gw=192.0.2.1", word("troy.ip"))
	flags.StringVar(&o.disk, "disk", o.disk, "work on this disk or image `file` only")
	flags.BoolVar(&o.unsigned, "unsigned", o.unsigned, "do not check signatures")
	flags.BoolVar(&o.shell, "shell", o.shell, "stay here at the end instead of restarting the machine")
	noNet := flags.Bool("no-link", false, "the network is up already")
	noHandOff := flags.Bool("no-handoff", false, "do not hand the machine to Windows")
	flags.IntVar(&o.workers, "workers", 0, "ranges fetched at once (default 8)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if len(words) > 0 {
		last := strings.Join(words, " ")
		if _, err := netfetch.ParseParams(last); err != nil {
			return err
		}
		o.net, _ = netfetch.ParseParams(text, last) // what is wrong in the command line was said above
	}
	if *noNet {
		o.linkUp, o.drivers = false, false
	}
	o.handOff = !*noHandOff
	return nil
}

// parseKernel takes the troy.* words of a kernel command line. Other words are for others.
func (o *options) parseKernel(cmdline string) (err error) {
	o.net, err = netfetch.ParseParams(cmdline)
	for _, word := range strings.Fields(cmdline) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "troy.disk":
			o.disk = value
		case "troy.shell":
			o.shell = true
		case "troy.unsigned":
			o.unsigned = true
		}
	}
	return err
}
