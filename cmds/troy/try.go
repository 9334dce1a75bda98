package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"troy/initramfs/bundle"
	"troy/internal/cli"
	"troy/internal/durable"
	"troy/internal/version"
	"troy/trial"
)

// tryCall is one "try".
type tryCall struct {
	*gatesResult
	o                   trial.Options
	keep, result, relay string
	sizeGiB             float64
	dry                 bool
}

func tryCommand(s *cli.Streams) *cobra.Command {
	t := &tryCall{gatesResult: &gatesResult{call: newCall(s)}}
	cmd := leaf("try FILE", "see Troy work with a Windows of yours", t.run)
	cmd.Long = `Take an installation medium of Windows, or a disk image, through all that Troy does, in virtual PCs
on this machine: a bare PC, setup, updates, resets, cuts of the power, a version that cannot boot.
FILE is only read. Needs no root, and changes nothing of this machine's network. What came out is
shown, and written to a result file that can be sent (docs/real-windows.md).`
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if t.relay != "" {
			return arguments(0, 0)(nil, args)
		}
		return arguments(1, 1)(nil, args)
	}
	t.flags(cmd.Flags())
	return t.define(cmd)
}

func (t *tryCall) flags(fs *pflag.FlagSet) {
	fs.StringVar(&t.keep, "keep", "", "`folder` for the trial that stays; a trial that was interrupted there goes on (default: a temporary one)")
	fs.StringVar(&t.result, "result", "troy-try.json", "`file` for what came out; beside it a page with the same name and .txt")
	fs.StringVar(&t.o.Edition, "edition", "", "the `edition` of an installation medium, by its number or name (default: the first of Pro, Education, Enterprise)")
	fs.Float64Var(&t.sizeGiB, "size", 64, "size of the disk for an edition, in `GiB`; may have a fraction")
	fs.IntVar(&t.o.Cuts, "cuts", 20, "`number` of cuts of the power")
	fs.StringVar(&t.o.Until, "until", "", "the last `step` to do: "+strings.Join(trial.Steps(), ", ")+" (default: all)")
	fs.BoolVar(&t.o.Online, "online", false, "let the virtual PCs reach the network; without it they see the trial's server alone")
	fs.BoolVar(&t.o.NoSecureBoot, "no-secure-boot", false, "firmware that starts unsigned programs, too")
	fs.BoolVar(&t.o.Emulate, "emulate", false, "do without KVM: about ten times as slow")
	fs.IntVar(&t.o.MemoryMiB, "memory", 4096, "memory of a virtual PC, in `MiB`")
	fs.IntVar(&t.o.BallastMiB, "ballast", 64, "how much the versions after 2 change, in `MiB`")
	fs.BoolVar(&t.o.Force, "force-unbootable", false, "also try an image that troy image import refuses because no PC starts it")
	fs.BoolVar(&t.dry, "dry-run", false, "say what would be tried, on what, and what it takes")
	fs.StringVar(&t.o.Program, "program", "", "`file` troy-gates.exe (default: beside troy, or /usr/share/troy/troy-gates.exe)")
	fs.StringVar(&t.o.Bundle, "bundle", "", "the `folder` of the boot bundle (default: TROY_BUNDLE, else "+bundle.Default+")")
	fs.StringVar(&t.relay, "relay", "", "join an `address` with standard input and output")
	fs.Lookup("relay").Hidden = true
}

func (t *tryCall) run(ctx context.Context, args []string) error {
	if t.relay != "" {
		return trial.Relay(ctx, t.relay, os.Stdin, t.Out)
	}
	if err := t.fill(args[0]); err != nil {
		return err
	}
	temporary := t.keep == ""
	if temporary {
		dir, err := os.MkdirTemp("/var/tmp", "troy-try-")
		if err != nil {
			return explain(err, cli.NothingChanged)
		}
		t.o.Dir = dir
	}
	all, err := trial.Prepare(ctx, t.o)
	if err != nil {
		if temporary {
			err = errors.Join(err, os.RemoveAll(t.o.Dir))
		}
		return explain(err, cli.NothingChanged)
	}
	for _, line := range all.About() {
		fmt.Fprintln(t.Out, cli.Clean(line))
	}
	if t.dry {
		if temporary {
			return os.RemoveAll(t.o.Dir)
		}
		return nil
	}
	return t.finish(all, all.Run(ctx), temporary)
}

// fill completes the options.
func (t *tryCall) fill(file string) error {
	if t.sizeGiB < leastGiB || t.sizeGiB > mostGiB {
		return cli.Usagef("--size %g: want %g to %d GiB", t.sizeGiB, leastGiB, mostGiB)
	}
	if t.o.Until != "" && !slices.Contains(trial.Steps(), t.o.Until) {
		return cli.Usagef("--until %s: want one of %s", t.o.Until, strings.Join(trial.Steps(), ", "))
	}
	if t.o.Cuts < 0 || t.o.BallastMiB < 1 || t.o.BallastMiB > 1024 || t.o.MemoryMiB < 512 {
		return cli.Usagef("--cuts, --ballast (1 to 1024) or --memory (512 or more) is out of its range")
	}
	if !t.yes && !t.dry && t.terminal() == nil {
		return cli.Usagef("at the end you are asked whether the result may be written, and there is no terminal: give --yes")
	}
	troy, err := os.Executable()
	if err != nil {
		return err
	}
	if t.o.Source, err = filepath.Abs(file); err != nil {
		return err
	}
	if t.o.Dir, err = filepath.Abs(t.keep); err != nil {
		return err
	}
	t.o.Size = int64(t.sizeGiB*1024) << 20
	t.o.Troy, t.o.Relay, t.o.Out = troy, []string{troy, "try", "--relay"}, t.Out
	if t.o.Bundle, err = filepath.Abs(bundle.Folder(t.o.Bundle)); err != nil {
		return err
	}
	if t.o.Program == "" {
		t.o.Program = firstFile(filepath.Join(filepath.Dir(troy), "troy-gates.exe"), "/usr/share/troy/troy-gates.exe")
	}
	if t.o.Program == "" {
		return cli.Usagef("troy-gates.exe is not beside troy: name it by --program")
	}
	if t.o.Program, err = filepath.Abs(t.o.Program); err != nil {
		return err
	}
	return t.writable()
}

// writable finds before anything long begins that the result cannot be written.
func (t *tryCall) writable() error {
	if info, err := os.Stat(t.result); err == nil && info.IsDir() {
		return cli.Usagef("--result %s: it is a folder", t.result)
	}
	if err := unix.Access(filepath.Dir(t.result), unix.W_OK|unix.X_OK); err != nil {
		return cli.Usagef("--result %s: its folder: %v", t.result, err)
	}
	return nil
}

func firstFile(paths ...string) string {
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return ""
}

// left says what is left of a trial that did not come to its end.
func (t *tryCall) left(err error) error {
	dir := t.o.Dir
	if plain := regexp.MustCompile(`^[\w/.+-]+$`); !plain.MatchString(dir) { // it is pasted behind rm -r
		dir = "'" + strings.ReplaceAll(dir, "'", `'\''`) + "'"
	}
	return &cli.Fault{Err: err, Fate: "nothing of the trial runs any more",
		Advice: fmt.Sprintf("to go on: troy try --keep %s …, with the same arguments; to clean up: rm -r %[1]s", dir)}
}

// finish tells what came out, and leaves nothing behind that is not wanted.
func (t *tryCall) finish(all *trial.Trial, err error, temporary bool) error {
	if errors.Is(err, context.Canceled) {
		return t.left(errors.New("the trial was interrupted"))
	}
	if err != nil && !errors.Is(err, trial.ErrStopped) {
		return t.left(err)
	}
	r, failed := all.Result(time.Now(), version.Get().Short())
	if failed != nil {
		return t.left(errors.Join(err, failed))
	}
	page := all.Text(r)
	fmt.Fprint(t.Out, "\n", page, "\n")
	if failed = t.write(t.result, r); failed == nil {
		failed = durable.WriteFile(strings.TrimSuffix(t.result, ".json")+".txt", []byte(page), 0o644)
	}
	if failed != nil {
		return t.left(errors.Join(err, failed))
	}
	if n := all.Failed(); err != nil || n > 0 {
		return &cli.Fault{Err: fmt.Errorf("%w: %d things were not as they should be", cli.ErrCheck, n), Fate: "the folder " + t.o.Dir + " is left as it is",
			Advice: "send " + t.result + " all the same"}
	}
	if temporary {
		return os.RemoveAll(t.o.Dir)
	}
	return nil
}
