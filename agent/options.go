package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"troy/internal/errline"
	"troy/internal/kernelargs"
	"troy/netfetch/params"
)

// Options is what the kernel command line or the flags say. The zero value is right for a machine
// that was just started.
type Options struct {
	Net       params.Network // addresses and servers, which the signed list and DHCP may add to
	Typed     []string       // servers that a person named for this start: no others are asked
	Disk      string         // work on this disk or image file only; empty = all disks of the machine
	Shell     bool           // stop at the end instead of restarting the machine
	Running   bool           // the machine is in use: drivers are loaded, the network is up, the disks are there
	NoHandOff bool           // do not hand the machine to Windows
	Workers   int            // ranges fetched at once; 0 = default
	Screen    bool           // show a page on the machine's screen (package page), lines elsewhere

	sys      string           // where sysfs is; empty = /sys
	media    string           // folder of what the boot media carry; empty = mediaDir
	now      func() time.Time // the machine's clock; nil = the kernel's
	patience time.Duration    // how long a server that does not answer is asked again; 0 = fullPatience
}

// Arguments takes what the media and the kernel command line say, the latter overriding the former,
// and returns the text of both, which params.Parse can join with later words. What is wrong in them
// is written to out and ignored.
func (o *Options) Arguments(out io.Writer) string {
	cmdline, _ := os.ReadFile("/proc/cmdline") // without /proc there are only flags
	config, err := os.ReadFile(filepath.Join(mediaDir, "config"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(out, "deploy: boot media: %v; continuing without them\n", err)
	}
	text := string(config) + "\n" + string(cmdline)
	if err := o.parseKernel(text); err != nil {
		fmt.Fprintf(out, "deploy: kernel command line: %v; continuing without it\n", err)
	}
	typed, _ := params.Parse(kernelargs.OfThisStart(string(cmdline))) // what is wrong was said
	o.Typed = typed.Servers
	if _, err := os.Stat(rescueShell); o.Shell && err != nil {
		fmt.Fprintln(out, "deploy: these media have no shell (troy media --rescue makes such): troy.shell is ignored")
		o.Shell = false
	}
	return text
}

// parseKernel takes the troy.* words of a kernel command line. Other words are for others.
func (o *Options) parseKernel(cmdline string) (err error) {
	o.Net, err = params.Parse(cmdline)
	for _, word := range kernelargs.Words(cmdline) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case kernelargs.Disk:
			o.Disk = value
		case kernelargs.Shell:
			o.Shell = true
		case "troy.unsigned":
			err = errline.Join(err, errors.New("troy.unsigned was removed: media carry the root of a store (troy media --store)"))
		}
	}
	return err
}

// rescueShell is on rescue media only.
const rescueShell = "/bin/defaultsh"

// Run is one start of the machine. It writes what it does to out, a line each, and returns the exit
// code; when the machine is handed over it does not return.
func Run(ctx context.Context, o *Options, out io.Writer) int { return newAgent(o, out).run(ctx) }
