package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"troy/image/trust"
)

// maxPassphrase bounds the file of a passphrase, in bytes.
const maxPassphrase = 4 << 10

// options says where the keys are and how their passphrase is had: from the file, the variable, or the terminal.
func (k *keyFlags) options(c *call) *trust.Options {
	o := &trust.Options{Keys: k.folder}
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
			return nil, errors.New("the key is sealed, and there is no terminal to ask for its passphrase; say --passphrase-file FILE or set TROY_PASSPHRASE")
		}
		o.NewPassphrase = func() ([]byte, error) { return nil, nil }
		return o
	}
	o.Passphrase = func() ([]byte, error) { return readSecret(tty, c.stderr, "passphrase of the keys: ") }
	o.NewPassphrase = func() ([]byte, error) { return newSecret(tty, c.stderr) }
	return o
}

// terminal returns where a person can be asked: both the standard input and the standard error have to be a terminal. nil if there is none.
func (c *call) terminal() *os.File {
	out, ok := c.stderr.(*os.File)
	if !ok || !term.IsTerminal(int(out.Fd())) || !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil
	}
	return os.Stdin
}

// readSecret asks without showing what is typed. The terminal shows it again afterwards, whatever happened.
func readSecret(tty *os.File, out io.Writer, prompt string) ([]byte, error) {
	fmt.Fprint(out, prompt)
	b, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(out)
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	if len(b) > maxPassphrase {
		return nil, fmt.Errorf("the passphrase is longer than %d bytes", maxPassphrase)
	}
	return b, nil
}

// newSecret asks for a new passphrase, twice.
func newSecret(tty *os.File, out io.Writer) ([]byte, error) {
	first, err := readSecret(tty, out, "passphrase for the root and targets keys (empty: do not seal them): ")
	if err != nil || len(first) == 0 {
		return nil, err
	}
	again, err := readSecret(tty, out, "the same again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, again) {
		return nil, errors.New("the two passphrases differ")
	}
	return first, nil
}

func (k *keyFlags) readPassphrase() ([]byte, error) {
	f, err := os.Open(k.passphraseFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPassphrase))
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
		return nil, fmt.Errorf("%s: the first line is empty, it should be the passphrase", k.passphraseFile)
	}
	return line, nil
}
