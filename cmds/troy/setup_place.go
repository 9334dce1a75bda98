package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"troy/internal/cli"
	"troy/internal/durable"
	"troy/server/lab"
)

// What the Debian package brings.
const (
	unitName    = "troy.service"
	unitUser    = "troy"
	unitOptions = "/etc/default/troy"
	systemdRuns = "/run/systemd/system"
)

// place is where the things of a site are, and whose they are.
type place struct {
	store, lab, media string
	service           bool // the package's unit serves the store
	uid, gid          int  // of the service's user

	options serveFlags // of the service
}

// optionsLine is that of the unit's options.
var optionsLine = regexp.MustCompile(`(?m)^TROY_OPTIONS="([^"\n]*)"$`)

// fill finds out what flags do not say.
func (p *place) fill(a *asker) (err error) {
	p.store = cmp.Or(p.store, os.Getenv("TROY_STORE"))
	if err := p.findService(); err != nil {
		return err
	}
	if p.service && os.Geteuid() != 0 {
		return &cli.Fault{Err: fmt.Errorf("the service's store %s is set up by root", p.store), Advice: "run it as root; --store DIR sets up another one"}
	}
	if !p.service {
		byDefault := "troy"
		if os.Geteuid() == 0 {
			byDefault = "/srv/troy"
		}
		if p.store, err = a.ask(p.store, "folder for the store, which images of Windows fit into", byDefault, plainPath); err != nil {
			return err
		}
	}
	p.lab = cmp.Or(p.lab, p.options.lab, filepath.Join(p.store, lab.FileName))
	if p.media == "" {
		p.media = p.store + "-media"
		if p.service {
			p.media = filepath.Join(filepath.Dir(p.store), "media")
		}
	}
	for _, path := range []*string{&p.store, &p.lab, &p.media} {
		if *path, err = plainPath(*path); err != nil {
			return err
		}
	}
	return nil
}

// plainPath makes a path one that is right in each folder.
func plainPath(path string) (string, error) {
	if strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == '"' || r == '\'' }) {
		return "", fmt.Errorf("%q: want a path without blanks and quotes", path)
	}
	return filepath.Abs(path)
}

// findService looks for the package's unit, and reads which store it serves.
func (p *place) findService() error {
	_, err := os.Stat(systemdRuns)
	if err != nil {
		return nil
	}
	b, err := os.ReadFile(unitOptions)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	options, store, err := readOptions(string(b))
	if err != nil {
		return fmt.Errorf("%s: %w", unitOptions, err)
	}
	if p.store != "" && filepath.Clean(p.store) != filepath.Clean(store) {
		return nil
	}
	u, err := user.Lookup(unitUser)
	if err == nil {
		p.uid, err = strconv.Atoi(u.Uid)
	}
	if err == nil {
		p.gid, err = strconv.Atoi(u.Gid)
	}
	if err != nil {
		return fmt.Errorf("the user of %s: %w", unitName, err)
	}
	p.service, p.store, p.options = true, store, options
	return nil
}

// readOptions reads what the unit's file tells troy serve.
func readOptions(text string) (f serveFlags, store string, err error) {
	m := optionsLine.FindStringSubmatch(text)
	if m == nil {
		return f, "", errors.New(`it has no line TROY_OPTIONS="…"`)
	}
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.define(set)
	if err := set.Parse(strings.Fields(m[1])); err != nil {
		return f, "", err
	}
	if set.NArg() != 1 {
		return f, "", errors.New("TROY_OPTIONS names no store, or several")
	}
	return f, set.Arg(0), nil
}

// withOptions puts flags, each as --NAME=VALUE, into what the unit's file tells troy serve, in place
// of those of that name.
func withOptions(text string, flags ...string) string {
	return optionsLine.ReplaceAllStringFunc(text, func(line string) string {
		words := strings.Fields(optionsLine.FindStringSubmatch(line)[1])
		for i := 0; i < len(words); i++ {
			name, _, whole := strings.Cut(words[i], "=")
			if !slices.ContainsFunc(flags, func(f string) bool { return strings.HasPrefix(f, name+"=") }) {
				continue
			}
			last := i + 1
			if !whole && !boolean(name) {
				last++
			}
			words = slices.Delete(words, i, min(last, len(words)))
			i--
		}
		return `TROY_OPTIONS="` + strings.Join(append(flags, words...), " ") + `"`
	})
}

// boolean tells whether a flag of troy serve takes no value.
func boolean(name string) bool {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	(&serveFlags{}).define(set)
	f := set.Lookup(strings.TrimLeft(name, "-"))
	return f != nil && f.NoOptDefVal != ""
}

// setOptions sets flags in the unit's file.
func setOptions(flags ...string) error {
	b, err := os.ReadFile(unitOptions)
	if err != nil {
		return err
	}
	return durable.WriteFile(unitOptions, []byte(withOptions(string(b), flags...)), 0o644)
}

// systemctl runs it on the unit.
func systemctl(verbs ...string) error {
	out, err := exec.Command("systemctl", append(verbs, unitName)...).CombinedOutput()
	if err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(verbs, " "), err, first)
	}
	return nil
}

// give gives what root made to the user of the service, who has to read and renew it.
func (p *place) give() error {
	if !p.service {
		return nil
	}
	for _, dir := range []string{p.store, p.media} {
		if err := giveTree(dir, p.uid, p.gid); err != nil {
			return fmt.Errorf("giving %s to the user %s: %w", dir, unitUser, err)
		}
	}
	return nil
}
