package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"troy/internal/cli"
)

// manual are the pages that users read: all but the list of commands, which is made of the program,
// and the list of changes, which names what is gone.
func manual(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("../../docs/*.md")
	must(t, err)
	names = append(names, "../../README.md", "../../CONTRIBUTING.md", "../../SECURITY.md")
	pages := map[string]string{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		must(t, err)
		pages[strings.TrimPrefix(name, "../../")] = string(b)
	}
	delete(pages, "docs/cli.md")
	if len(pages) < 10 {
		t.Fatalf("the manual has %d pages", len(pages))
	}
	return pages
}

// codeOf takes a page apart: lines of code, which are whole commands, and the spans of code in its
// text, which may leave arguments out.
func codeOf(page string) (lines, spans []string) {
	var text strings.Builder
	fenced := false
	for line := range strings.Lines(page) {
		bare := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(bare, "```"):
			fenced = !fenced
		case fenced || strings.HasPrefix(line, "    ") && !strings.HasPrefix(bare, "- "):
			if n := len(lines); n > 0 && strings.HasSuffix(lines[n-1], "\\") {
				lines[n-1] = strings.TrimSuffix(lines[n-1], "\\") + bare
			} else {
				lines = append(lines, bare)
			}
		}
		if !fenced {
			text.WriteString(bare + " ")
		}
	}
	for _, m := range codeSpan.FindAllStringSubmatch(text.String(), -1) {
		spans = append(spans, m[1])
	}
	return lines, spans
}

var (
	codeSpan = regexp.MustCompile("`([^`]+)`")
	// called is a command of ours in a line: at its start, behind a prompt, or behind what runs it as
	// another user.
	called = regexp.MustCompile(`^(?:\$ |sudo |runuser -u troy -- )*(?:out/|/usr/bin/)?((?:troy|vhdx) .*)$`)
	word   = regexp.MustCompile(`(?:[^\s"']+|"[^"]*"|'[^']*')+`)
)

// commandIn returns the words of the command in a piece of code; nil if it has none of ours.
func commandIn(code string) (words []string) {
	m := called.FindStringSubmatch(code)
	if m == nil {
		return nil
	}
	for _, w := range word.FindAllString(m[1], -1) {
		switch {
		case slices.Contains([]string{"#", "|", "&&", ";", ">", "\\"}, w):
			return words
		case w == "…" || w == "[…]": // more of the same
		default:
			words = append(words, strings.Trim(w, `"'`))
		}
	}
	if words[0] == "vhdx" {
		words = append([]string{"troy"}, words...)
	}
	return words
}

// spelled gives each command that one with alternatives stands for: image import|add.
func spelled(words []string) [][]string {
	for i, w := range words {
		if i > 0 && strings.Contains(w, "|") && !strings.HasPrefix(w, "[") && !strings.HasPrefix(w, "-") {
			var all [][]string
			for _, one := range strings.Split(w, "|") {
				all = append(all, spelled(slices.Concat(words[:i], []string{one}, words[i+1:]))...)
			}
			return all
		}
	}
	return [][]string{words}
}

// wrong says what of a command the program does not have. Whole commands need all their arguments.
func wrong(words []string, whole bool) string {
	root := newRoot(&cli.Streams{Out: io.Discard, Err: io.Discard})
	cmd, rest, err := root.Find(words[1:])
	if err != nil {
		return err.Error()
	}
	if len(rest) > 0 && cmd.HasSubCommands() && !strings.HasPrefix(rest[0], "-") && cmd.Name() != "help" {
		if !isPlaceholder(rest[0]) {
			return "no command " + rest[0]
		}
		return ""
	}
	return wrongFlags(cmd, rest, whole)
}

func wrongFlags(cmd *cobra.Command, rest []string, whole bool) string {
	cmd.InitDefaultHelpFlag()
	var arguments []string
	for i := 0; i < len(rest); i++ {
		name, _, given := strings.Cut(strings.TrimPrefix(rest[i], "--"), "=")
		switch f := cmd.Flags().Lookup(name); {
		case rest[i] == "-h":
		case !strings.HasPrefix(rest[i], "--"):
			arguments = append(arguments, rest[i])
		case f == nil:
			return "no flag --" + name
		case f.NoOptDefVal == "" && !given:
			if i++; i == len(rest) && whole {
				return "no value of --" + name
			}
		}
	}
	if whole && cmd.Args != nil && !cmd.Flags().Changed("help") {
		if err := cmd.Args(cmd, arguments); err != nil {
			return err.Error()
		}
	}
	return ""
}

// isPlaceholder says whether a word of a page only says what belongs there.
func isPlaceholder(w string) bool { return w != "" && strings.ToUpper(w) == w }

// TestManualCommands: every command that the manual names is one, with these flags, and what is
// printed as a line to type has its arguments.
func TestManualCommands(t *testing.T) {
	n := 0
	for name, page := range manual(t) {
		lines, spans := codeOf(page)
		for i, code := range append(lines, spans...) {
			words := commandIn(code)
			if len(words) < 2 {
				continue
			}
			n++
			for _, one := range spelled(words) {
				if what := wrong(one, i < len(lines)); what != "" {
					t.Errorf("%s: %q: %s", name, code, what)
				}
			}
		}
	}
	if n < 150 {
		t.Errorf("only %d commands were found", n)
	}
	for code, what := range map[string]string{ // that the test sees anything
		"troy imgae list": "no command", "troy image lst": "no command", "troy image list --jsn": "no flag", "troy image import win11": "arguments",
		"vhdx mrge a": "no command", "troy key servers --add": "no value", "troy image import|ad a b": "no command",
	} {
		got := ""
		for _, one := range spelled(commandIn(code)) {
			got += wrong(one, true)
		}
		if !strings.Contains(got, what) {
			t.Errorf("%q: %q, want %q", code, got, what)
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the names by which GitHub knows the headings of a page.
func anchors(page string) (all []string) {
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		text := dropped.ReplaceAllString(strings.ToLower(link.ReplaceAllString(m[1], "")), "")
		all = append(all, strings.ReplaceAll(text, " ", "-"))
	}
	return all
}

// TestManualLinks: what a page of the manual links to is there, and the index has every page.
func TestManualLinks(t *testing.T) {
	pages := manual(t)
	changes, err := os.ReadFile("../../CHANGELOG.md")
	must(t, err)
	pages["CHANGELOG.md"] = string(changes)
	for name, page := range pages {
		for _, m := range link.FindAllStringSubmatch(page, -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			at := name
			if file != "" {
				at = filepath.Join(filepath.Dir(name), file)
			}
			b, err := os.ReadFile(filepath.Join("../..", at))
			if info, statErr := os.Stat(filepath.Join("../..", at)); statErr == nil && info.IsDir() {
				continue
			}
			if err != nil || anchor != "" && !slices.Contains(anchors(string(b)), anchor) {
				t.Errorf("%s links to %s, which is not there (%v)", name, m[1], err)
			}
		}
	}
	for name := range pages {
		file, docs := strings.CutPrefix(name, "docs/")
		if docs && file != "README.md" && !strings.Contains(pages["docs/README.md"], "]("+file+")") {
			t.Errorf("docs/README.md lacks %s", file)
		}
	}
	if !strings.Contains(pages["README.md"], "](docs/README.md)") {
		t.Error("README.md lacks the index of the manual")
	}
}
