package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"troy/image/trust/sign"
	"troy/internal/cli"
	"troy/internal/utf16le"
)

// maxPassphrase bounds the file of a passphrase, in bytes.
const maxPassphrase = 4 << 10

// dir is the folder of the admin key; "" = in the store.
func (k *keyFlags) dir() string { return cmp.Or(k.folder, os.Getenv("TROY_KEYS")) }

// options says where the keys are and how their passphrase is had: from the file, the variable, or
// the terminal.
func (k *keyFlags) options(c *call) *sign.Options {
	o := &sign.Options{Keys: k.dir(), Confirm: func(what string, list []sign.Difference) error { return k.agree(c, what, list) }}
	if k.known != nil {
		o.Passphrase = func() ([]byte, error) { return *k.known, nil }
		return o
	}
	if k.passphraseFile != "" {
		o.Passphrase = k.readPassphrase
		return o
	}
	if p := os.Getenv("TROY_PASSPHRASE"); p != "" {
		o.Passphrase = func() ([]byte, error) { return []byte(p), nil }
		return o
	}
	tty := c.terminal()
	if tty == nil {
		o.Passphrase = func() ([]byte, error) {
			return nil, errors.New("the key is sealed, and there is no terminal to ask for its passphrase; use --passphrase-file FILE or set TROY_PASSPHRASE")
		}
		o.NewPassphrase = func() ([]byte, error) { return nil, nil }
		return o
	}
	o.Passphrase = func() ([]byte, error) { return readSecret(tty, c.Err, "passphrase of the admin key: ") }
	o.NewPassphrase = func() ([]byte, error) {
		return newSecret(tty, c.Err, "passphrase for the admin key (empty: do not seal it): ", "repeat passphrase: ", nil)
	}
	return o
}

// terminal returns where a person can be asked: both the standard input and the standard error have
// to be a terminal. nil if there is none.
func (c *call) terminal() *os.File {
	out, ok := c.Err.(*os.File)
	if !ok || !term.IsTerminal(int(out.Fd())) || !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil
	}
	return os.Stdin
}

// readSecret asks without showing what is typed, not even what is typed before the question is
// there. The terminal shows it again afterwards, whatever happened.
func readSecret(tty *os.File, out io.Writer, prompt string) ([]byte, error) {
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	defer term.Restore(fd, before)
	if err := hide(fd); err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	defer fmt.Fprintln(out)
	b, err := question(out, prompt, func() ([]byte, error) { return readAnswer(tty) }) // term.ReadPassword does not see the end of the input
	if err == nil && len(b) >= maxPassphrase {
		err = fmt.Errorf("what was typed is longer than %d bytes", maxPassphrase-1)
	}
	return b, err
}

// question asks and reads the answer. An interrupt ends it, because the program's own handler of it
// would only wait for the answer.
func question(out io.Writer, prompt string, read func() ([]byte, error)) ([]byte, error) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stop)
	fmt.Fprint(out, prompt)
	type line struct {
		b   []byte
		err error
	}
	typed := make(chan line, 1)
	go func() {
		b, err := read()
		typed <- line{b, err}
	}()
	select {
	case <-stop:
		return nil, errors.New("no answer was given: interrupted")
	case l := <-typed:
		if l.err != nil {
			return nil, fmt.Errorf("reading the answer: %w", l.err)
		}
		return l.b, nil
	}
}

// hide keeps a terminal from showing what is typed.
func hide(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Lflag &^= unix.ECHO
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// newSecret asks for a new secret, twice, until both are the same and check, which may be nil, takes
// it.
func newSecret(tty *os.File, out io.Writer, prompt, again string, check func(string) error) ([]byte, error) {
	for {
		first, err := readSecret(tty, out, prompt)
		if err != nil {
			return nil, err
		}
		if check != nil {
			err = check(string(first))
		}
		if err == nil && len(first) > 0 {
			second, rerr := readSecret(tty, out, again)
			if rerr != nil {
				return nil, rerr
			}
			if !bytes.Equal(first, second) {
				err = errors.New("the two differ")
			}
		}
		if err == nil {
			return first, nil
		}
		fmt.Fprintf(out, "%s\n", cli.Clean(err.Error()))
	}
}

func (k *keyFlags) readPassphrase() ([]byte, error) { return firstLine(k.passphraseFile) }

// firstLine reads the secret in a file. What an editor of Windows puts before it is no part of it:
// nobody types that at the prompt.
func firstLine(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPassphrase))
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(utf16le.Plain(b), []byte("\n"))
	if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
		return nil, fmt.Errorf("%s: the first line is empty", path)
	}
	return line, nil
}
