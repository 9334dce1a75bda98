// Command troy-sbom writes the bill of materials of a package of Troy, as CycloneDX JSON:
//
//	troy-sbom [--version NAME] --bundle DIR [--out FILE] [NAME=PROGRAM ...]
//
// It names the Go modules of each program, as the program itself tells, and the files of the boot
// bundle with the Debian packages, their sources and the Go modules that they are made of, as its
// manifest tells. The same input gives the same bytes: the time is SOURCE_DATE_EPOCH, and without it there is none.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"troy/initramfs/bundle"
	"troy/internal/cli"
	"troy/internal/durable"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

const usage = "troy-sbom [--version NAME] --bundle DIR [--out FILE] [NAME=PROGRAM ...]"

// run writes the document and returns the exit code.
func run(args []string, out, errOut io.Writer) int {
	s := cli.New("troy-sbom", out, errOut)
	flags := flag.NewFlagSet("troy-sbom", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	version := flags.String("version", "", "version of the package; without it, that of the bundle")
	dir := flags.String("bundle", "out/boot", "folder of the boot bundle")
	to := flags.String("out", "", "file to write; without it, the document is printed")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(s.Out, "write the bill of materials of a package, as CycloneDX JSON\n\nusage: %s\n\n", usage)
		flags.SetOutput(s.Out)
		flags.PrintDefaults()
		return s.Finish(nil, usage)
	case err != nil:
		return s.Finish(cli.Usagef("%v", err), usage)
	}
	b, err := document(*version, *dir, flags.Args())
	switch {
	case err != nil:
	case *to == "":
		_, err = s.Out.Write(b)
	default:
		err = durable.WriteFile(*to, b, 0o644)
	}
	return s.Finish(err, usage)
}

// document makes the bill of a bundle and of programs, each given as NAME=FILE.
func document(version, dir string, programs []string) ([]byte, error) {
	when, err := epoch(os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return nil, err
	}
	boot, err := bundle.Open(dir)
	if err != nil {
		return nil, err
	}
	m := newMaterials()
	for _, arg := range programs {
		name, file, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, cli.Usagef("%q is not NAME=PROGRAM", arg)
		}
		code, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if err := m.addProgram(name, code); err != nil {
			return nil, err
		}
	}
	if err := m.addBundle(boot); err != nil {
		return nil, err
	}
	return m.bill(cmp.Or(version, boot.Manifest.Version), when)
}

// epoch reads SOURCE_DATE_EPOCH: seconds since 1970. Empty is the zero time.
func epoch(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
