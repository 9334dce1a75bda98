package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"troy/image/trust/sign"
	"troy/internal/cli"
)

// agree shows what is to be done and asks whether it shall be.
func (k *keyFlags) agree(c *call, what string, list []sign.Difference) error {
	fmt.Fprintf(c.Err, "%s:\n", what)
	for _, d := range list {
		fmt.Fprintf(c.Err, "  %s\n", cli.Clean(d.String()))
	}
	if k.approved {
		return nil
	}
	return k.ask(c, "go on? yes or no: ")
}

// ask asks the person at the terminal. Without a terminal the command line is the answer, unless it
// does not say what is signed.
func (k *keyFlags) ask(c *call, prompt string) error {
	if k.yes {
		return nil
	}
	if c.terminal() == nil && !k.broad {
		return nil
	}
	return c.ask(prompt)
}

// ask asks the person at the terminal. Without a terminal nothing is agreed to.
func (c *call) ask(prompt string) error {
	tty := c.terminal()
	if tty == nil {
		return errors.New("there is no terminal to ask at: read what is listed, then use --yes")
	}
	answer, err := question(c.Err, prompt, func() ([]byte, error) { return readAnswer(tty) })
	if err != nil {
		return err
	}
	if !isYes(string(answer)) {
		return errors.New("the answer was not yes")
	}
	return nil
}

func isYes(answer string) bool {
	a := strings.ToLower(strings.TrimSpace(answer))
	return a == "y" || a == "yes"
}

// readAnswer reads a line and not a byte more: the next one may be a passphrase.
func readAnswer(tty *os.File) ([]byte, error) {
	var line []byte
	b := make([]byte, 1)
	for len(line) < maxPassphrase {
		n, err := tty.Read(b)
		if n == 1 && b[0] != '\n' {
			line = append(line, b[0])
			continue
		}
		if n == 0 && err != nil && (err != io.EOF || len(line) == 0) {
			return nil, err
		}
		break
	}
	return line, nil
}
