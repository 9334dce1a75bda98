package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"troy/internal/cli"
)

// docsCommand returns the commands with which docs/cli.md and the package's man pages are made.
func docsCommand(s *cli.Streams) *cobra.Command {
	page := leaf("markdown", "print all commands as one page", nil)
	page.RunE = func(cmd *cobra.Command, _ []string) error {
		writeMarkdown(s.Out, cmd.Root())
		return nil
	}
	man := leaf("man DIR", "write a man page for each command", nil)
	man.RunE = func(cmd *cobra.Command, args []string) error { return writeMan(args[0], cmd.Root()) }
	docs := group("docs", "write the documentation of the commands", page, man)
	docs.Hidden = true
	return docs
}

// Exit codes and variables, for the page and troy(1).
const (
	exitCodes = "0 done, 1 failed, 5 a check found something wrong, 64 wrong usage."
	variables = `TROY_STORE is the folder of the store, TROY_KEYS that of the signing keys, TROY_PASSPHRASE the
keys' passphrase. TROY_SERVER is the base URL of a server on another machine and TROY_TOKEN_FILE the
file with its token. Flags override them.`
)

// writeMarkdown writes the page.
func writeMarkdown(w io.Writer, root *cobra.Command) {
	fmt.Fprintf(w, "# troy on the command line\n\nThis page is made from the program: `make docs` writes it.\n\n")
	fmt.Fprintf(w, "Exit codes: %s\n\n%s\n\n`--` ends the flags: names after it may begin with a dash.\n", exitCodes, variables)
	for _, g := range root.Groups() {
		fmt.Fprintf(w, "\n## %s\n", strings.ToUpper(g.Title[:1])+g.Title[1:])
		for _, c := range available(root, g.ID) {
			section(w, c)
		}
	}
}

// section writes a command, and those below it.
func section(w io.Writer, c *cobra.Command) {
	fmt.Fprintf(w, "\n### %s\n\n%s\n", c.CommandPath(), about(c))
	list := available(c, "")
	if len(list) == 0 {
		fmt.Fprintf(w, "\n```text\n%s\n```\n", strings.TrimRight(usageText(c, screenWidth), "\n"))
	}
	for _, sub := range list {
		section(w, sub)
	}
}

// about is what a command is for, in sentences.
func about(c *cobra.Command) string {
	if c.Long != "" {
		return strings.TrimSpace(c.Long)
	}
	return strings.TrimSuffix(strings.ToUpper(c.Short[:1])+c.Short[1:], ".") + "."
}

// usageText is the synopsis of a command and its flags.
func usageText(c *cobra.Command, width int) string {
	c.InitDefaultHelpFlag()
	text := synopsis(c) + "\n"
	if hasFlags(c) {
		text += "\n" + c.LocalFlags().FlagUsagesWrapped(width)
	}
	return text
}

// manWidth is that of lines that man does not fill, in columns: a terminal has 80, and man indents.
const manWidth = 72

// writeMan writes troy.1, and a page for each command below it, to a folder.
func writeMan(dir string, root *cobra.Command) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, c := range append([]*cobra.Command{root}, available(root, "")...) {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-")
		if err := os.WriteFile(filepath.Join(dir, name+".1"), []byte(manPage(name, c)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// manPage is one page in the language of man(7).
func manPage(name string, c *cobra.Command) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(`.TH %s 1 "" troy "Troy"`, strings.ToUpper(roff(name)))
	line(".SH NAME\n%s \\- %s", roff(name), roff(c.Short))
	line(".SH SYNOPSIS\n.nf\n%s\n.fi", roff(synopsis(c)))
	line(".SH DESCRIPTION\n%s", roff(about(c)))
	switch list := available(c, ""); {
	case !c.HasParent():
		line(".SH COMMANDS")
		for _, sub := range list {
			line(".TP\n.B %s\n%s", roff(sub.Name()), roff(sub.Short))
		}
		line(".SH EXIT STATUS\n%s\n.SH ENVIRONMENT\n%s", roff(exitCodes), roff(variables))
	case len(list) > 0:
		line(".SH COMMANDS")
		for _, sub := range list {
			line(".SS %s\n%s\n.PP\n.nf\n%s\n.fi", roff(sub.CommandPath()), roff(about(sub)), roff(usageText(sub, manWidth)))
		}
	case hasFlags(c):
		line(".SH OPTIONS\n.nf\n%s\n.fi", roff(strings.TrimRight(c.LocalFlags().FlagUsagesWrapped(manWidth), "\n")))
	}
	if c.HasParent() {
		line(".SH SEE ALSO\n.BR troy (1)")
	}
	return b.String()
}

// roff escapes text for man(7): no line becomes a request, a dash stays a dash, an empty line a
// paragraph.
func roff(text string) string {
	var b strings.Builder
	for _, r := range strings.TrimRight(text, "\n") {
		switch {
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case r > 126:
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	lines := strings.Split(b.String(), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
