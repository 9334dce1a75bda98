package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"troy/image/source"
	"troy/image/startable"
	"troy/internal/cli"
)

// settingUp is one "setup": what flags and answers say, and what was found. It asks and checks
// everything before it writes anything, and then runs the steps, which are those of other commands.
// What is there already is left alone, so that it goes on where it was cut.
type settingUp struct {
	*asker
	keys    keyFlags
	windows windowsFlags
	allowed startable.Allowed
	place   place

	address, listen, tlsListen string
	login, passwordFile        string
	file, image                string // the disk or medium, and the name of the image that it becomes
	netboot                    string // netbootProxy …
	bundle                     string
	noService                  bool

	foreign  bool // the address is none of this machine
	found    found
	password string
	editions []source.Edition // of the medium
	edition  *source.Edition  // that is chosen
}

// Ways to start PCs by the network.
const (
	netbootProxy = "proxy" // troy serve answers PXE beside the DHCP server
	netbootDHCP  = "dhcp"  // the DHCP server names the boot files
	netbootNo    = "no"
)

// none is the answer that leaves something out.
const none = "none"

func setupCommand(s *cli.Streams) *cobra.Command {
	u := &settingUp{asker: &asker{call: newCall(s)}}
	cmd := leaf("setup", "set up a server for a first room", nil)
	cmd.Long = `Set up a server for a first room: store, admin key, list of servers, login for the page, lab.yaml,
first image, service and boot media. It asks for what no flag says, checks everything, says what it
will do, and does it. What is there is left alone: run it again to continue, or to add what was left
out. With --yes nobody is asked: defaults apply, the key stays in the store, and without their flags
there is no login and no image. 'troy init', 'login', 'image import' and 'media' do single steps.`
	u.define(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return u.run(cmd.Context()) }
	return cmd
}

func (u *settingUp) define(fs *pflag.FlagSet) {
	u.keys.define(fs)
	fs.Lookup("yes").Usage = "ask nothing: take the defaults for what no flag says"
	fs.StringVar(&u.place.store, "store", "", "the `folder` of the store (default: TROY_STORE, else that of the package's service)")
	fs.StringVar(&u.place.lab, "lab", "", "the `file` that describes the rooms (default: that of the service, else lab.yaml in the store)")
	fs.StringVar(&u.place.media, "out", "", "`folder` for the boot media (default: media beside the store)")
	fs.StringVar(&u.address, "address", "", "`name` or IP address at which PCs reach this server (default: that of the network card)")
	fs.StringVar(&u.listen, "listen", "", "`address` to listen on without TLS (default :8080)")
	fs.StringVar(&u.tlsListen, "tls-listen", "", "`address` to listen on with TLS (default :8443)")
	fs.StringVar(&u.login, "login", "", "`name` of the person who may sign in on the page; "+none+" for nobody")
	fs.StringVar(&u.passwordFile, "password-file", "", "`file` whose first line is that person's password (default: you are asked)")
	fs.StringVar(&u.file, "from", "", "an ISO `file` of Windows, or a disk of any format, for the first image; "+none+" for no image")
	fs.StringVar(&u.image, "image", "", "`name` of the first image (default "+defaultImage+")")
	fs.StringVar(&u.netboot, "netboot", "", "start PCs by the network: `way`, proxy (beside the DHCP server), dhcp (it names the boot files) or no")
	fs.StringVar(&u.bundle, "bundle", "", "the `folder` of the boot bundle (see troy media)")
	fs.BoolVar(&u.noService, "no-service", false, "do not enable and start the package's service")
	u.windows.define(fs)
	defineAllowed(fs, &u.allowed)
}

func (u *settingUp) run(ctx context.Context) error {
	if u.tty = u.terminal(); u.keys.yes {
		u.tty = nil
	} else if u.tty == nil {
		return cli.Usagef("there is no terminal to ask at: give --yes, and by flags what differs from the defaults")
	}
	if err := u.prepare(ctx); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = &cli.Fault{Err: err, Advice: "run it as root, or as the user to whom the store belongs"}
		}
		return explain(err, "nothing was changed")
	}
	for _, s := range u.steps() {
		if s.there {
			continue
		}
		fmt.Fprintf(u.Out, "\n%s\n", cli.Clean(s.plan))
		err := s.do(ctx)
		if gerr := u.place.give(); err == nil {
			err = gerr
		}
		if err != nil {
			return explain(err, "what was done before is complete: run the command again to continue")
		}
	}
	u.sayNext()
	return u.place.give() // also what a run that was cut had not given yet
}

// prepare asks and checks everything, and says what will be done. Nothing is written.
func (u *settingUp) prepare(ctx context.Context) error {
	if err := u.place.fill(u.asker); err != nil {
		return err
	}
	if err := u.look(ctx); err != nil {
		return err
	}
	for _, ask := range []func(context.Context) error{u.askKeys, u.askAddress, u.askLogin, u.askImage, u.askNetboot, u.askPassphrase} {
		if err := ask(ctx); err != nil {
			return err
		}
	}
	if err := u.check(ctx); err != nil {
		return err
	}
	return u.agree()
}

// agree says what will be done and asks whether it may be.
func (u *settingUp) agree() error {
	fmt.Fprintf(u.Out, "\nThis is what setup does:\n")
	todo := 0
	for _, s := range u.steps() {
		mark := "there"
		if !s.there {
			mark = "make"
			todo++
		}
		fmt.Fprintf(u.Out, "  %-5s  %s\n", mark, cli.Clean(s.plan))
	}
	if todo == 0 || u.tty == nil {
		return nil
	}
	answer, err := u.ask("", "go on? yes or no", "yes", yesOrNo)
	if err == nil && answer != "yes" {
		err = errors.New("the answer was not yes")
	}
	return err
}

func yesOrNo(text string) (string, error) {
	switch {
	case isYes(text):
		return "yes", nil
	case text == "no" || text == "n":
		return "no", nil
	}
	return "", errors.New("want yes or no")
}

// asker asks the person at the terminal for what no flag said.
type asker struct {
	*call
	tty *os.File // nil: nobody is asked
}

// ask returns what a flag said (given), or the person answers, or else the default, as check makes
// it, which is asked for again until check takes it.
func (a *asker) ask(given, prompt, byDefault string, check func(string) (string, error)) (answer string, err error) {
	switch {
	case given != "":
		return check(given)
	case a.tty == nil:
		return check(byDefault)
	}
	err = a.askOne(a.tty, prompt+" ["+byDefault+"]", func(text string) (err error) {
		answer, err = check(cmp.Or(text, byDefault))
		return err
	})
	return answer, err
}
