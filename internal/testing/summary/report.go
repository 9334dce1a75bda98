package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Limits of what is printed.
const (
	long      = 10  // seconds: a test that takes longer gets a line when it ends
	mostAgain = 100 // lines of one failure that are printed again at the end
	anyReason = "any"
)

// event is one line of go test -json; go doc test2json describes it.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// id names a test. The test of a package's own output is empty.
type id struct{ pkg, test string }

// top is the test function that a subtest belongs to.
func (i id) top() id {
	i.test, _, _ = strings.Cut(i.test, "/")
	return i
}

// test is a test function or a subtest that runs.
type test struct {
	id
	lines []string // what it printed
	came  string   // what it came to: pass, fail or skip; empty = it has not ended
}

// report turns events into text.
type report struct {
	out                  io.Writer
	tests                map[id]*test
	running              map[id][]*test // a test function and its subtests, in the order of their starts
	builds               map[string]string
	failures             []string
	skipped              map[string][]string // reason to names
	passes, fails, skips int
}

func newReport(out io.Writer) *report {
	return &report{out: out, tests: map[id]*test{}, running: map[id][]*test{}, builds: map[string]string{}, skipped: map[string][]string{}}
}

// read reads events until the end. Lines that are none are passed through.
func (r *report) read(from io.Reader) error {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		var e event
		switch {
		case line == "":
		case json.Unmarshal([]byte(line), &e) == nil && e.Action != "":
			r.add(&e)
		default:
			fmt.Fprint(r.out, line)
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the output of go test: %w", err)
		}
	}
}

func (r *report) add(e *event) {
	name := id{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
		r.builds[e.ImportPath] += e.Output
	case "build-fail":
		r.failures = append(r.failures, r.builds[e.ImportPath])
	case "run":
		t := &test{id: name}
		r.tests[name] = t
		r.running[name.top()] = append(r.running[name.top()], t)
	case "output":
		r.output(name, e.Output)
	case "pass", "fail", "skip":
		if t := r.tests[name]; t != nil {
			r.endTest(t, e.Action, e.Elapsed)
		} else if name.test == "" {
			r.endPackage(name.pkg, e.Action)
		}
	}
}

func (r *report) output(name id, line string) {
	switch t := r.tests[name]; {
	case t == nil && line != "PASS\n":
		fmt.Fprint(r.out, line)
	case t != nil && !strings.HasPrefix(line, "=== "):
		t.lines = append(t.lines, line)
	}
}

func (r *report) endTest(t *test, came string, seconds float64) {
	t.came = came
	switch came {
	case "pass":
		r.passes++
		if seconds >= long && t.id == t.top() {
			fmt.Fprintf(r.out, "--- PASS: %s (%.2fs) in %s\n", t.test, seconds, t.pkg)
		}
	case "fail":
		r.fails++
	case "skip":
		r.skips++
		why := reason(t.lines)
		r.skipped[why] = append(r.skipped[why], t.pkg+" "+t.test)
	}
	if t.id == t.top() {
		r.endTop(t.id)
	}
}

// endTop prints a test function that failed, with its subtests that failed, and forgets it.
func (r *report) endTop(top id) {
	var failed strings.Builder
	for _, t := range r.running[top] {
		if t.came == "fail" {
			verdictFirst(t.lines)
			failed.WriteString(strings.Join(t.lines, ""))
		}
		delete(r.tests, t.id)
	}
	delete(r.running, top)
	if failed.Len() > 0 {
		fmt.Fprint(r.out, failed.String())
		r.failures = append(r.failures, top.pkg+"\n"+failed.String())
	}
}

// endPackage deals with the tests that did not end because the package's process did.
func (r *report) endPackage(pkg, came string) {
	for top, tests := range r.running {
		if top.pkg != pkg {
			continue
		}
		for _, t := range tests {
			if t.came == "" && came == "fail" {
				t.came = came
				r.fails++
				t.lines = append(t.lines, fmt.Sprintf("--- FAIL: %s (did not end)\n", t.test))
			}
		}
		r.endTop(top)
	}
}

// verdictFirst moves a test's line "--- FAIL" before what it said, where go test has it.
func verdictFirst(lines []string) {
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(strings.TrimLeft(l, " "), "--- FAIL: ") })
	if i > 0 {
		verdict := lines[i]
		copy(lines[1:], lines[:i])
		lines[0] = verdict
	}
}

var said = regexp.MustCompile(`^ +\S+\.go:\d+: ([^:\n]+)`)

// reason is the last thing that a skipped test said, up to a colon.
func reason(lines []string) string {
	for _, line := range slices.Backward(lines) {
		if m := said.FindStringSubmatch(line); m != nil {
			return m[1]
		}
	}
	return "no reason given"
}

// end prints the failures again, and the counts. It reports whether all that was skipped may be.
func (r *report) end(maySkip string) (sound bool) {
	if len(r.failures) > 0 {
		fmt.Fprintf(r.out, "\n==== all failures again\n")
	}
	for _, f := range r.failures {
		fmt.Fprint(r.out, shorten(f))
	}
	sound = true
	var reasons []string
	for why := range r.skipped {
		reasons = append(reasons, why)
	}
	slices.Sort(reasons)
	for _, why := range reasons {
		tests := "tests"
		if len(r.skipped[why]) == 1 {
			tests = "test"
		}
		fmt.Fprintf(r.out, "%d %s skipped: %s\n", len(r.skipped[why]), tests, why)
		if maySkip != anyReason && why != maySkip {
			sound = false
			fmt.Fprintf(r.out, "FAIL: these may not be skipped here: %s\n", strings.Join(r.skipped[why], ", "))
		}
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passes, r.fails, r.skips)
	return sound
}

// shorten leaves out the middle of a long failure.
func shorten(text string) string {
	lines := slices.Collect(strings.Lines(text))
	if len(lines) <= mostAgain {
		return text
	}
	const half = mostAgain / 2
	return strings.Join(lines[:half], "") + fmt.Sprintf("    … %d lines, above in full …\n", len(lines)-2*half) + strings.Join(lines[len(lines)-half:], "")
}
