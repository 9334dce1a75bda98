package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A module with all that a test can come to.
var files = map[string]string{
	"go.mod": "module sample\n\ngo 1.26\n",
	"good/good_test.go": `package good
import "testing"
func TestGood(t *testing.T) { t.Log("silent"); t.Run("sub", func(t *testing.T) {}) }
`,
	"bare/bare.go": "package bare\n",
	"bad/bad_test.go": `package bad
import "testing"
func TestBad(t *testing.T) {
	t.Log("before")
	t.Run("right", func(t *testing.T) { t.Log("silent") })
	t.Run("wrong", func(t *testing.T) { t.Error("two is not three") })
}
func TestBeside(t *testing.T) { t.Log("silent") }
`,
	"skips/skips_test.go": `package skips
import "testing"
func TestA(t *testing.T) { t.Skip("no samples: TROY_SAMPLES is not set") }
func TestB(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Log("first"); t.Skip("no samples: a file") }) }
`,
	"lazy/lazy_test.go": `package lazy
import "testing"
func TestLazy(t *testing.T) { t.SkipNow() }
`,
	"panics/panics_test.go": `package panics
import "testing"
func TestPanic(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Log("nearly there"); panic("too much") }) }
`,
	"exits/exits_test.go": `package exits
import ("fmt"; "os"; "testing")
func TestExit(t *testing.T) { t.Run("over", func(*testing.T) {}); fmt.Println("going"); os.Exit(3) }
`,
	"broken/broken_test.go": "package broken\nfunc TestX(t *testing.T) {}\n",
	"talks/talks_test.go": `package talks
import ("fmt"; "os"; "testing")
func TestMain(m *testing.M) { fmt.Println("{\"not\": \"an event\"}"); os.Exit(m.Run()) }
func TestTalk(t *testing.T) {}
`,
}

// sample makes the module the working directory.
func sample(t *testing.T) {
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

// TestRun runs go test on that module.
func TestRun(t *testing.T) {
	sample(t)
	const again = "==== all failures again\n"
	tests := []struct {
		name, args, maySkip string
		status              int
		want                []string // regular expressions, in this order
		never               string   // one that must not match
	}{
		{"all good", "./good", "", 0,
			[]string{`(?m)^ok  \tsample/good\t[\d.]+s$`, `(?m)^2 passed, 0 failed, 0 skipped$`}, "silent|PASS|again"},
		{"a failure", "./bad ./good", "", 1,
			[]string{`(?m)^--- FAIL: TestBad \(.*\n    bad_test.go:4: before\n--- FAIL: TestBad/wrong \(.*\n    bad_test.go:6: two is not three$`,
				`(?m)^FAIL\tsample/bad\t`, again, `two is not three`, `(?m)^4 passed, 2 failed, 0 skipped$`}, "silent|=== RUN"},
		{"no samples", "./skips ./good", "no samples", 0,
			[]string{`(?m)^ok  \tsample/skips`, `(?m)^2 tests skipped: no samples$`, `(?m)^3 passed, 0 failed, 2 skipped$`}, "FAIL"},
		{"samples that have to be there", "./skips", "", 1,
			[]string{`(?m)^2 tests skipped: no samples$`, `FAIL: .* here: sample/skips TestA, sample/skips TestB/sub\n`, `0 failed, 2 skipped`}, ""},
		{"another reason", "./skips ./lazy", "no samples", 1,
			[]string{`1 test skipped: no reason given\n`, `FAIL: .* here: sample/lazy TestLazy\n`, `2 tests skipped: no samples\n`}, "here: sample/skips"},
		{"any reason", "./skips ./lazy", "any", 0, []string{`3 skipped\n$`}, "FAIL"},
		{"a panic", "./panics", "", 1,
			[]string{`panic: too much`, `nearly there`, `FAIL\tsample/panics`, again, `panic: too much`, `nearly there`, `0 passed, 2 failed`}, ""},
		{"the process ends", "./exits", "", 1, []string{`--- FAIL: TestExit \(did not end\)\n`, `going`, again, `TestExit`, `going`, `1 passed, 1 failed`}, "TestExit/over"},
		{"no build", "./broken ./good", "", 1,
			[]string{`undefined: testing`, `FAIL\tsample/broken \[build failed\]`, again, `undefined: testing`, `2 passed, 0 failed`}, ""},
		{"output of a package", "./talks", "", 0, []string{`(?m)^{"not": "an event"}$`, `ok  \tsample/talks`}, ""},
		{"nothing to test", "./bare", "", 0, []string{`(?m)^\?   \tsample/bare\t\[no test files\]$`, `0 passed, 0 failed, 0 skipped`}, ""},
		{"no such package", "./none", "", 1, []string{`0 passed, 0 failed`}, ""},
		{"wrong flag", "-p=many ./good", "", 2, nil, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out, stderr bytes.Buffer
			status, err := run(strings.Fields(test.args), test.maySkip, &out, &stderr)
			if err != nil || status != test.status {
				t.Errorf("status %d, error %v; want %d", status, err, test.status)
			}
			rest := out.String()
			for _, want := range test.want {
				where := regexp.MustCompile(want).FindStringIndex(rest)
				if where == nil {
					t.Fatalf("%s is not in\n%s\nwhich is the rest of\n%s", want, rest, out.String())
				}
				rest = rest[where[1]:]
			}
			if test.never != "" && regexp.MustCompile(test.never).MatchString(out.String()) {
				t.Errorf("%s is in\n%s", test.never, out.String())
			}
			if t.Failed() {
				t.Logf("output:\n%s\nerrors:\n%s", out.String(), stderr.String())
			}
		})
	}
}

// TestLive shows that a long test has a line as soon as it ends, and that a failure does not wait
// for its package.
func TestLive(t *testing.T) {
	var out bytes.Buffer
	r := newReport(&out)
	const start = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestLong"}
{"Action":"pass","Package":"p","Test":"TestLong","Elapsed":83.2}
{"Action":"run","Package":"p","Test":"TestShort"}
{"Action":"pass","Package":"p","Test":"TestShort","Elapsed":0.2}
{"Action":"run","Package":"p","Test":"TestBad"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"    x_test.go:1: wrong\n"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"--- FAIL: TestBad (0.10s)\n"}
{"Action":"fail","Package":"p","Test":"TestBad","Elapsed":0.1}
`
	if err := r.read(strings.NewReader(start)); err != nil {
		t.Fatal(err)
	}
	const want = "--- PASS: TestLong (83.20s) in p\n--- FAIL: TestBad (0.10s)\n    x_test.go:1: wrong\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestShorten has the middle of a long failure left out at the end.
func TestShorten(t *testing.T) {
	for _, n := range []int{1, mostAgain, mostAgain + 1, 5 * mostAgain} {
		t.Run(fmt.Sprintf("%d lines", n), func(t *testing.T) {
			got := strings.Count(shorten(strings.Repeat("line\n", n)), "\n")
			if want := min(n, mostAgain+1); got != want {
				t.Errorf("%d lines become %d, want %d", n, got, want)
			}
		})
	}
}
