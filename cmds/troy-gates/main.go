// Command troy-gates runs inside Windows and tries the disks that "troy gates make DIR" wrote:
//
//	troy-gates DIR
//
// It attaches each of them without a drive letter, reads it, writes to it where the manifest says
// so, and detaches it; it has MergeVirtualDisk merge copies, and takes the time. It shows what came
// out as a page, asks, and writes DIR\result.json, which "troy gates judge DIR" completes on Linux.
// It needs administrator rights, and no Hyper-V. DIR has to be on NTFS.
//
// In the Windows of a trial (troy try) it is also what looks from inside, see package inside:
//
//	troy-gates up             do what the order on the trial's disc says
//	troy-gates up --install   the same, after becoming a service in C:\Troy: the first logon
//	troy-gates up --service   the same as the service, at each later start
//
// Windows is shut down at the end, unless the order says otherwise. Without a disc with an order
// nothing is done.
//
// Exit codes: 0 done (also when nothing could be tried), 1 failed, 5 a gate failed, 64 wrong usage.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"troy/gates"
	"troy/gates/testdisk"
	"troy/gates/winpc"
	"troy/internal/cli"
	"troy/internal/durable"
	"troy/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = "troy-gates [--yes] DIR"

// run does the whole, and returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	s := cli.New("troy-gates", out, errOut)
	if len(args) > 0 && args[0] == "up" {
		return s.Finish(up(ctx, s, args[1:]), upUsage)
	}
	flags := flag.NewFlagSet("troy-gates", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	yes := flags.Bool("yes", false, "write the result without asking")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(s.Out, "try the disks of 'troy gates make DIR' in this Windows, as administrator\n\nusage: %s\n", usage)
		return s.Finish(nil, usage)
	case err != nil:
		return s.Finish(cli.Usagef("%v", err), usage)
	case flags.NArg() != 1:
		return s.Finish(cli.Usagef("want one folder of test disks"), usage)
	}
	return s.Finish(try(ctx, s, flags.Arg(0), in, *yes), usage)
}

func try(ctx context.Context, s *cli.Streams, dir string, in io.Reader, yes bool) error {
	if _, err := testdisk.Load(dir); err != nil {
		return &cli.Fault{Err: err, Fate: "nothing was tried", Advice: "'troy gates make' makes such a folder"}
	}
	if !winpc.Elevated() {
		return errors.New("needs administrator rights: start it from a terminal that was opened by 'Run as administrator'; nothing was tried")
	}
	dir, err := filepath.Abs(dir) // the API of Windows takes no other paths
	if err != nil {
		return err
	}
	pc, names := winpc.Look()
	r := gates.New(time.Now(), version.Get().Short(), pc)
	r.Names = names
	if err := testdisk.Run(ctx, dir, winpc.Disks{}, r, func(line string) { s.Note("%s", line) }); err != nil {
		return err
	}
	return finish(s, filepath.Join(dir, gates.FileName), r, in, yes)
}

// finish shows the result, asks, and writes it.
func finish(s *cli.Streams, path string, r *gates.Result, in io.Reader, yes bool) error {
	b, err := r.Encode()
	if err != nil {
		return err
	}
	fmt.Fprint(s.Out, r.Page())
	if !yes {
		fmt.Fprintf(s.Err, "\nThis is all that the file says. Write %s? yes or no: ", cli.Clean(path))
		line, err := bufio.NewReader(in).ReadString('\n')
		if a := strings.ToLower(strings.TrimSpace(line)); a != "y" && a != "yes" {
			return fmt.Errorf("the answer was not yes: the result was not written%s", ended(err))
		}
	}
	if err := durable.WriteFile(path, b, 0o644); err != nil {
		return err
	}
	s.Note("wrote %s", path)
	if n := r.Count(gates.Fail); n > 0 {
		return fmt.Errorf("%w: %d gates failed", cli.ErrCheck, n)
	}
	return nil
}

// ended says why there was no answer.
func ended(err error) string {
	if err == nil {
		return ""
	}
	return " (there is nobody to ask: read the page, then use --yes)"
}
