package main

import (
	"fmt"
	"os"
	"strings"

	"troy/image/source"
	"troy/image/unattend"
	"troy/internal/cli"
)

// askAnswers asks a person for the answers that setup gets, when the edition is known. Each is
// asked for until check takes it; what is left empty, setup asks at the PC.
func (p *publishing) askAnswers(tty *os.File) func(*source.Edition, func(unattend.Answers) error) (unattend.Answers, error) {
	return func(e *source.Edition, check func(unattend.Answers) error) (a unattend.Answers, err error) {
		fmt.Fprintf(p.Err, "answers for the setup of %s; an empty one leaves the question to the PC. Device encryption is switched off: it does not work in a VHDX.\n", cli.Clean(e.Name))
		for _, q := range []struct {
			prompt string
			set    func(a *unattend.Answers, text string)
		}{
			{"language, such as de-DE" + offered(e), func(a *unattend.Answers, text string) { a.Language = text }},
			{"keyboard, such as 0407:00000407 (empty: that of the language)", func(a *unattend.Answers, text string) { a.Keyboard = text }},
			{"time zone, such as W. Europe Standard Time", func(a *unattend.Answers, text string) { a.TimeZone = text }},
			{"start in audit mode, before the first user is made? yes or no", func(a *unattend.Answers, text string) { a.Audit = isYes(text) }},
		} {
			if err := p.askOne(tty, q.prompt, func(text string) error {
				next := a
				q.set(&next, text)
				err := check(next)
				if err == nil {
					a = next
				}
				return err
			}); err != nil {
				return a, err
			}
		}
		return a, nil
	}
}

// askOne asks until the answer is taken, or there is none.
func (c *call) askOne(tty *os.File, prompt string, take func(text string) error) error {
	for {
		b, err := question(c.Err, prompt+": ", func() ([]byte, error) { return readAnswer(tty) })
		if err != nil {
			return err
		}
		if err = take(strings.TrimSpace(string(b))); err == nil {
			return nil
		}
		fmt.Fprintf(c.Err, "%s\n", cli.Clean(err.Error()))
	}
}

// offered lists the languages of an edition.
func offered(e *source.Edition) string {
	if len(e.Languages) == 0 {
		return ""
	}
	return " (on the medium: " + cli.Clean(strings.Join(e.Languages, ", ")) + ")"
}
