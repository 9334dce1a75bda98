package packaging

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	goldenScript = "windows/golden.ps1"
	goldenPage   = "../docs/golden.md"
	// question is asked before a step; with -WhatIf the answer is no.
	question = "$PSCmdlet.ShouldProcess($name, $steps[$name][1])"
)

// used is a command or a static method, and what the nearest if around it asks.
type used struct{ Name, Condition string }

// function is one of a script of PowerShell.
type function struct {
	Name      string
	Commented bool
	Uses      []used
}

// script is one of PowerShell, as testdata/powershell.js takes it apart.
type script struct {
	Faults    []string // where it is none
	Functions []function
	Outside   []used // outside of functions
}

// parsed is what a parser of PowerShell's grammar makes of a script.
func parsed(t *testing.T, text string) *script {
	t.Helper()
	folder := filepath.Join(environment(t, "TROY_CACHE"), "powershell")
	if _, err := os.Stat(filepath.Join(folder, "done")); err != nil {
		t.Fatalf("no parser of PowerShell: %v; make deps fetches it", err)
	}
	// Without it, Node spends 15 s to optimise the parser.
	c := exec.Command("node", "--liftoff-only", "testdata/powershell.js", folder)
	c.Stdin = strings.NewReader(text)
	out, err := c.Output()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, err.(*exec.ExitError).Stderr)
	}
	var s script
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return &s
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	stepLine     = regexp.MustCompile(`(?m)^    '([a-z-]+)' = '([A-Z]\w+-\w+)', '?"?.`)
	identityLine = regexp.MustCompile(`(?m)^    '([\w -]+)' = '([^:']+): `)
	// looking is what changes nothing; a Get- is taken for that too.
	looking = regexp.MustCompile(`^(Get-|Test-|(Join|Split)-Path$|(Where|ForEach)-Object$)` +
		`|^(Out-(Null|String)|Start-Sleep|Set-StrictMode)$` +
		`|^\[(Console\]::Error\.WriteLine|Security\.Principal\.WindowsIdentity\]::GetCurrent)$`)
)

// unprintable: Windows PowerShell reads a file without a mark in the code page of the PC.
func unprintable(r rune) bool { return r < ' ' || r > '~' }

// complaints are what is wrong with a golden.ps1.
func complaints(t *testing.T, text string) (list []string) {
	t.Helper()
	complain := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for i, line := range strings.Split(text, "\n") {
		if len(line) > 100 || strings.ContainsFunc(line, unprintable) {
			complain("line %d is too long, or not printable ASCII", i+1)
		}
	}
	s := parsed(t, text)
	for _, where := range s.Faults {
		complain("%s: no PowerShell", where)
	}
	steps := map[string]bool{}
	for _, m := range stepLine.FindAllStringSubmatch(text, -1) {
		steps[m[2]] = true
	}
	s.judge(steps, complain)
	return list
}

// judge: what changes Windows lies in steps and in what only they use, and a step is run only after
// ShouldProcess was asked.
func (s *script) judge(steps map[string]bool, complain func(string, ...any)) {
	own := map[string]*function{}
	for i := range s.Functions {
		own[s.Functions[i].Name] = &s.Functions[i]
		if !s.Functions[i].Commented {
			complain("%s has no comment", s.Functions[i].Name)
		}
	}
	for name := range steps {
		if own[name] == nil {
			complain("the step %s is not there", name)
		}
	}
	if !slices.Contains(s.Outside, used{"Invoke-Step", question}) {
		complain("no step is run after ShouldProcess")
	}
	for _, u := range s.Outside {
		if u == (used{"Invoke-Step", question}) {
			continue
		}
		if by := changes(u.Name, own, nil); by != "" {
			complain("%s is used outside of steps", by)
		}
	}
	reached := map[string]bool{}
	for name := range steps {
		reach(name, own, reached)
	}
	for name, f := range own {
		for _, u := range f.Uses {
			switch {
			case steps[u.Name]:
				complain("%s uses the step %s", name, u.Name)
			case u.Name == "& $command" && name != "Invoke-Step":
				complain("%s runs a step", name)
			}
		}
		if changes(name, own, nil) != "" && name != "Invoke-Step" && !reached[name] {
			complain("%s changes something and is in no step", name)
		}
	}
}

// changes names what a command changes Windows by, "" if by nothing.
func changes(name string, own map[string]*function, above []string) string {
	f := own[name]
	switch {
	case slices.Contains(above, name):
		return ""
	case f == nil && looking.MatchString(name):
		return ""
	case f == nil:
		return name
	}
	for _, u := range f.Uses {
		if by := changes(u.Name, own, append(above, name)); by != "" {
			return by
		}
	}
	return ""
}

// reach marks a function and what it uses.
func reach(name string, own map[string]*function, reached map[string]bool) {
	if f := own[name]; f != nil && !reached[name] {
		reached[name] = true
		for _, u := range f.Uses {
			reach(u.Name, own, reached)
		}
	}
}

// TestGoldenScript: it is PowerShell, and -WhatIf reaches nothing that changes Windows. What
// is found here is found: variants of the script with a fault each are not taken.
func TestGoldenScript(t *testing.T) {
	text := readFile(t, goldenScript)
	for _, c := range complaints(t, text) {
		t.Error(c)
	}
	seen, programs := len(stepLine.FindAllString(text, -1)), len(identityLine.FindAllString(text, -1))
	if all := strings.Count(text, "' = '"); seen < 15 || seen+programs != all {
		t.Errorf("%d steps and %d programs were seen of %d", seen, programs, all)
	}
	for _, want := range []string{"#Requires -Version 5.1\n", "#Requires -PSEdition Desktop\n",
		"[CmdletBinding(SupportsShouldProcess = $true)]\nparam(", "exit 2\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q", want)
		}
	}
	for _, v := range []struct{ name, old, new, want string }{
		{"no parenthesis", "if ($failed.Count -gt 0)", "if $failed.Count -gt 0", "no PowerShell"},
		{"a string is open", "'it was off'", "'it was off", "no PowerShell"},
		{"a block is open", "} while ($state", " while ($state", "no PowerShell"},
		{"an umlaut", "done'", "fertig \u00fc'", "not printable ASCII"},
		{"a step by itself", "\nShow-Remaining\n", "\nShow-Remaining\nSet-Pagefile\n",
			"is used outside of steps"},
		{"no question", question, "$true", "is used outside of steps"},
		{"the question the wrong way", "elseif (" + question, "elseif (-not " + question,
			"is used outside of steps"},
		{"the look changes", "'look whether a", "Stop-Service x\n        'look whether a",
			"Stop-Service is used outside of steps"},
		{"the check changes", "    $me = ", "    [IO.File]::Delete('x')\n    $me = ",
			"[IO.File]::Delete is used outside of steps"},
		{"a step in a step", "    Invoke-Tool 'dism", "    Set-CrashDump\n    Invoke-Tool 'dism",
			"Clear-ComponentStore uses the step Set-CrashDump"},
		{"a step is not there", "function Set-CrashDump", "function Set-Dump",
			"the step Set-CrashDump is not there"},
		{"a step in no table", "'crash-dump' = 'Set-CrashDump'", "'crash-dump' = 'Set-Pagefile'",
			"Set-CrashDump changes something and is in no step"},
		{"no comment", "# New-Item would empty a key that is there.\n", "", "Set-Number has no comment"},
	} {
		t.Run(v.name, func(t *testing.T) {
			if !strings.Contains(text, v.old) {
				t.Fatalf("the script has no %q", v.old)
			}
			got := complaints(t, strings.Replace(text, v.old, v.new, 1))
			if !strings.Contains(strings.Join(got, "\n"), v.want) {
				t.Errorf("complaints %q, want %q", got, v.want)
			}
		})
	}
}

// TestGoldenPage: the page has each step, parameter and program of the script, and no others.
func TestGoldenPage(t *testing.T) {
	text, page := readFile(t, goldenScript), readFile(t, goldenPage)
	names := func(re *regexp.Regexp, in string) (all []string) {
		for _, m := range re.FindAllStringSubmatch(in, -1) {
			all = append(all, m[1])
		}
		return all
	}
	part := func(heading string) string {
		_, rest, found := strings.Cut(page, "\n## "+heading+"\n")
		if !found {
			t.Fatalf("the page has no part %q", heading)
		}
		rest, _, _ = strings.Cut(rest, "\n## ")
		return rest
	}
	for _, c := range []struct {
		what         string
		script, page []string
	}{
		{"steps", names(stepLine, text),
			names(regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|"), part("The steps"))},
		{"parameters", names(regexp.MustCompile(`(?m)^\.PARAMETER (\w+)$`), text),
			names(regexp.MustCompile("(?m)^\\| `-(\\w+)[` ]"), part("Run the script"))},
		{"programs", names(regexp.MustCompile(`(?:\n    '[\w -]+' = '|every PC: )([A-Z][\w .-]+)[:,] `), text),
			names(regexp.MustCompile(`(?m)^\| \*\*([^|*]+)\*\* \|`),
				part("Programs with an identity"))},
	} {
		slices.Sort(c.script) // not in the order in which they are done: that is of no help on a page
		slices.Sort(c.page)
		if len(c.script) < 5 || !slices.Equal(c.script, c.page) {
			t.Errorf("%s of the script:\n%q\nof the page:\n%q", c.what, c.script, c.page)
		}
	}
}
