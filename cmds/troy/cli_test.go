package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"troy/internal/cli"
	"troy/internal/tlskey"
	"troy/internal/utf16le"
	"troy/server/certs"
	"troy/server/rooms"
	"troy/server/servedir"
)

// everyCommand calls f with each command that people see, by its words after troy.
func everyCommand(f func(words []string, cmd *cobra.Command)) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		f(strings.Fields(cmd.CommandPath())[1:], cmd)
		for _, c := range available(cmd, "") {
			walk(c)
		}
	}
	walk(newRoot(cli.New("troy", io.Discard, io.Discard)))
}

// fits fails if a text does not fit on a screen of so many lines.
func fits(t *testing.T, text string, lines int) {
	t.Helper()
	if n := strings.Count(text, "\n"); n > lines {
		t.Errorf("%d lines, want at most %d:\n%s", n, lines, text)
	}
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > screenWidth {
			t.Errorf("%d columns, want at most %d: %s", n, screenWidth, line)
		}
	}
}

func TestScreens(t *testing.T) {
	for _, c := range []struct {
		line  string
		lines int
	}{{"", 24}, {"frobnicate", 24}, {"image --help", 24}, {"version", 24}, {"serve --help", 48}} {
		t.Run(c.line, func(t *testing.T) {
			r := troy(strings.Fields(c.line)...)
			fits(t, r.out+r.errOut, c.lines)
		})
	}
	n := 0
	everyCommand(func(words []string, _ *cobra.Command) {
		n++
		t.Run(strings.Join(words, " "), func(t *testing.T) {
			r := wantTroy(t, exitOK, append(words, "--help")...)
			fits(t, r.out, 48)
			if help := wantTroy(t, exitOK, append([]string{"help"}, words...)...); help.out != r.out {
				t.Errorf("troy help %q says\n%swant\n%s", words, help.out, r.out)
			}
		})
	})
	if n < 50 {
		t.Errorf("only %d commands were seen", n)
	}
}

// TestPlainFlags: the word for a value says what it is, and a description begins in lower case.
func TestPlainFlags(t *testing.T) {
	everyCommand(func(words []string, cmd *cobra.Command) {
		if strings.HasPrefix(strings.Join(words, " "), "completion") {
			return // cobra's own
		}
		if cmd.Long != "" && !strings.HasSuffix(strings.TrimSpace(cmd.Long), ".") || strings.HasSuffix(cmd.Short, ".") && cmd.HasParent() {
			t.Errorf("troy %q: the short text is no sentence, the long one is: %q, %q", words, cmd.Short, cmd.Long)
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if word, _ := pflag.UnquoteUsage(f); word == "string" || word == "strings" || word == "int" || word == "uint" || word == "float" {
				t.Errorf("troy %q: --%s %s: the word should say what the value is", words, f.Name, word)
			}
		})
	})
}

func TestUsageErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct{ line, want string }{
		{"frobnicate", `troy: unknown command "frobnicate"; usage: troy COMMAND`},
		{"imgae", `unknown command "imgae"; did you mean image?`},
		{"image frobnicate --json", `unknown command "image frobnicate"; usage: troy image COMMAND`},
		{"key rotat", `did you mean rotate or root?`},
		{"completion powershell", `unknown command "completion powershell"`},
		{"completion bash x", `wrong number of arguments (1)`},
		{"help frobnicate", `unknown command "frobnicate"`},
		{"image show", `wrong number of arguments (0); usage: troy image show [flags] NAME [VERSION]`},
		{"image show a 1 2", `wrong number of arguments (3)`},
		{"image show a -1", `unknown flag -1`},
		{"image show -- a -1", `version "-1": want a number from 1`},
		{"serve --rate fast DIR", `--rate "fast": want a number; usage: troy serve [flags] DIR`},
		{"serve --rate", `--rate mbit: the value is missing`},
		{"serve --public-page=perhaps DIR", `--public-page "perhaps": want true or false`},
		{"vhdx create --size 1X a", `--size "1X": want a number of bytes, with K, M, G or T`},
		{"hosts -json", `unknown flag -json; did you mean --json?`},
		{"hosts --jsno", `unknown flag --jsno; did you mean --json?`},
		{"status --nights -3", `--nights -3: want a number of days`},
		{"stop --room test --why=", `--why is empty`},
		{"promote --room test win11", `"win11": want IMAGE@VERSION`},
		{"agent publish --version a/b .", `--version: `},
	} {
		t.Run(c.line, func(t *testing.T) {
			r := wantTroy(t, exitUsage, strings.Fields(c.line)...)
			if !strings.Contains(r.errOut, c.want) || strings.Count(r.errOut, "\n") != 1 || r.out != "" {
				t.Errorf("it says %q and %q, want one line with %q", r.out, r.errOut, c.want)
			}
		})
	}
	for _, args := range [][]string{{"log", ""}, {"wake", ""}, {"image", "show", "", "2"}, {"assign", "--room", "test", "", "pc-1"}} {
		if r := wantTroy(t, exitUsage, args...); !strings.Contains(r.errOut, "argument 1 is empty") {
			t.Errorf("%q says %s", args, r.errOut)
		}
	}
	if r := wantTroy(t, exitUsage, "stop", "--room", "test", "--why", " "); !strings.Contains(r.errOut, "--why is empty") {
		t.Errorf("a blank reason, which would resume: %s", r.errOut)
	}
}

// TestJSONOnlyWherePrinted: commands that print no document do not know the flag.
func TestJSONOnlyWherePrinted(t *testing.T) {
	for _, line := range []string{
		"wake --room test", "stop --room test", "stop --resume --room test", "assign --room test 1234 pc", "forget pc", "rollback --room test",
		"key init", "key sign", "key refresh", "key rotate", "key trust", "key root out.json",
		"login anna store", "certs show dir", "lab check lab.yaml", "disk prepare --image a --version 1 --size 1G disk.img", "version",
	} {
		t.Run(line, func(t *testing.T) {
			r := wantTroy(t, exitUsage, append(strings.Fields(line), "--json")...)
			if !strings.Contains(r.errOut, "unknown flag --json") {
				t.Errorf("it says %s", r.errOut)
			}
		})
	}
}

// TestDashes: names after -- may begin with a dash, all of them.
func TestDashes(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"-a.vhdx", "--json"} {
		wantTroy(t, exitOK, "vhdx", "create", "--size", "64M", "--", name)
	}
	r := wantTroy(t, exitOK, "vhdx", "check", "--", "-a.vhdx", "--json")
	if !strings.Contains(r.out, "-a.vhdx: ok") || !strings.Contains(r.out, "--json: ok") {
		t.Errorf("check: %s", r.out)
	}
	wantTroy(t, exitOK, "init", "store")
	wantTroy(t, exitOK, "image", "import", "--force-unbootable", "--store", "store", "--no-filter", "--", "pc", "-a.vhdx")
}

// fullDisk is where nothing can be written.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestOutputLost(t *testing.T) {
	h := newHistory(t, seeded(t))
	for _, line := range []string{
		"version", "--help", "image --help", "image list", "image list --json", "image show pc", "key list", "permit list", "lab schema",
		"vhdx info " + h.base, "vhdx map " + h.base, "completion bash",
	} {
		t.Run(line, func(t *testing.T) {
			var errOut bytes.Buffer
			code := run(t.Context(), strings.Fields(line), fullDisk{}, &errOut)
			if code != exitFailed || !strings.Contains(errOut.String(), "no space left") {
				t.Errorf("exit code %d, want %d: %s", code, exitFailed, errOut.String())
			}
		})
	}
}

func TestVersionCommand(t *testing.T) {
	r := wantTroy(t, exitOK, "version")
	if !strings.HasPrefix(r.out, "troy ") || !strings.Contains(r.out, "commit ") || !strings.Contains(r.out, "go1.") {
		t.Errorf("it says %q", r.out)
	}
	if flag := wantTroy(t, exitOK, "--version"); flag.out != r.out {
		t.Errorf("--version says %q, want %q", flag.out, r.out)
	}
}

// TestServerDown: a server that was named and is down is an error, even if the store here could be
// used.
func TestServerDown(t *testing.T) {
	serveLab(t, newHistory(t, seeded(t))).stop() // it leaves its state
	for _, line := range []string{"status", "hosts", "promote --room test pc@2", "stop --room test"} {
		t.Run(line, func(t *testing.T) {
			wantTroy(t, exitOK, strings.Fields(line)...)
			args := append(strings.Fields(line), "--server", "https://127.0.0.1:1")
			r := wantTroy(t, exitFailed, args...)
			if !strings.Contains(r.errOut, "does not answer") || !strings.Contains(r.errOut, "nothing was changed") || r.out != "" {
				t.Errorf("it says %q and %q", r.out, r.errOut)
			}
			t.Setenv("TROY_SERVER", "https://127.0.0.1:1")
			wantTroy(t, exitFailed, strings.Fields(line)...)
		})
	}
}

// serverOf answers as the server of a store: by its key.
func serverOf(t *testing.T, store string, h http.Handler) *httptest.Server {
	t.Helper()
	must(t, servedir.Of(store).Make())
	key, _, err := certs.LoadKey(servedir.Of(store).TLSKey())
	must(t, err)
	own, err := key.Certificate()
	must(t, err)
	s := httptest.NewUnstartedServer(h)
	s.Listener = tls.NewListener(s.Listener, tlskey.Server(&own, nil))
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// TestAnswerLost: when the answer does not come, nobody can say that nothing was changed.
func TestAnswerLost(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@2")
	at, err := url.Parse(s.url)
	must(t, err)
	forward := httputil.NewSingleHostReverseProxy(at)
	forward.Transport = &http.Transport{TLSClientConfig: tlskey.Unverified()}
	between := serverOf(t, s.store, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			forward.ServeHTTP(w, r)
			return
		}
		forward.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}))
	r := wantTroy(t, exitFailed, "stop", "--room", "test", "--why", "lost", "--server", "https://"+between.Listener.Addr().String())
	if !strings.Contains(r.errOut, "it is not known whether it was done") || strings.Contains(r.errOut, "nothing was changed") {
		t.Errorf("it says %s", r.errOut)
	}
	if r := wantTroy(t, exitOK, "status"); !strings.Contains(r.out, "lost") {
		t.Errorf("it was not done: %s", r.out)
	}
	s.stop()
	if r := wantTroy(t, exitFailed, "wake", "--room", "test"); !strings.Contains(r.errOut, "no packet was sent; the server sends them") {
		t.Errorf("wake without a server says %s", r.errOut)
	}
}

// TestEstimateZone: begin and end of a window are told in one zone, that of lab.yaml.
func TestEstimateZone(t *testing.T) {
	var out bytes.Buffer
	begin := time.Date(2026, 11, 30, 20, 30, 0, 0, time.UTC)
	newPromotion(cli.New("troy", &out, io.Discard)).sayEstimate(&rooms.Estimate{Zone: "Asia/Kolkata", Opens: begin, Closes: begin.Add(4 * time.Hour).In(time.FixedZone("", -3600)), Fits: true})
	if want := "window: Tue 2026-12-01 02:00 to Tue 06:00 (Asia/Kolkata)\n"; !strings.Contains(out.String(), want) {
		t.Errorf("%s, want %s", out.String(), want)
	}
}

func TestLoginCommand(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	wantTroy(t, exitOK, "init", store)
	secret := writeText(t, dir, "secret", "correct horse battery\nnot this line\n")
	wantTroy(t, exitOK, "login", "--password-file", secret, "anna", store)
	if r := wantTroy(t, exitFailed, "login", "--remove", "nobody", store); !strings.Contains(r.errOut, `no such user: "nobody"`) {
		t.Errorf("it says %s", r.errOut)
	}
	wantTroy(t, exitOK, "login", "--remove", "anna", store)
	other := filepath.Join(dir, "other")
	must(t, os.Mkdir(other, 0o755))
	if r := wantTroy(t, exitFailed, "login", "--password-file", secret, "anna", other); !strings.Contains(r.errOut, "is not a store") || len(treeOf(t, other)) != 1 {
		t.Errorf("in a folder that is no store: %s, and %q", r.errOut, treeOf(t, other))
	}
	wantTroy(t, exitFailed, "login", "--password-file", writeText(t, dir, "empty", "\nsecond line\n"), "anna", store)
	for _, file := range []string{secret, writeText(t, dir, "notepad", "\ufeffcorrect horse battery\r\n"),
		writeText(t, dir, "powershell", string(utf16le.Append([]byte{0xff, 0xfe}, "correct horse battery\r\n")))} {
		if line, err := firstLine(file); string(line) != "correct horse battery" || err != nil {
			t.Errorf("%s: the first line is %q, %v", file, line, err)
		}
	}
}

// TestCompletion has bash take the script, and asks what it would.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			if r := wantTroy(t, exitOK, "completion", shell); !strings.Contains(r.out, "__complete") {
				t.Errorf("no script: %.200s", r.out)
			}
		})
	}
	cmd := exec.Command("bash", "-n")
	cmd.Stdin = strings.NewReader(wantTroy(t, exitOK, "completion", "bash").out)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("bash: %v\n%s", err, out)
	}
	for line, want := range map[string]string{"image ver": "verify\t", "key rotate --se": "--server\t", "image list --st": "--store\t"} {
		t.Run(line, func(t *testing.T) {
			var out bytes.Buffer
			run(context.Background(), append([]string{"__complete"}, strings.Fields(line)...), &out, io.Discard)
			if !strings.Contains(out.String(), want) {
				t.Errorf("completion: %q, want %q in it", out.String(), want)
			}
		})
	}
}

// TestPage holds docs/cli.md current.
func TestPage(t *testing.T) {
	r := wantTroy(t, exitOK, "docs", "markdown")
	b, err := os.ReadFile("../../docs/cli.md")
	if err != nil || string(b) != r.out {
		t.Errorf("docs/cli.md is not current (%v): run make docs", err)
	}
	fits(t, r.out, 5000)
}

// TestManPages has man show each page.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	wantTroy(t, exitOK, "docs", "man", dir)
	list, err := filepath.Glob(filepath.Join(dir, "*.1"))
	must(t, err)
	if len(list) < 20 {
		t.Fatalf("only %d pages", len(list))
	}
	t.Setenv("MANWIDTH", "100")
	for _, path := range list {
		t.Run(filepath.Base(path), func(t *testing.T) {
			cmd := exec.Command("man", "--warnings", "-l", path)
			var out, errOut bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errOut
			if err := cmd.Run(); err != nil || errOut.Len() > 0 {
				t.Fatalf("man: %v\n%s", err, errOut.String())
			}
			if strings.Contains(out.String(), ".fi") {
				t.Errorf("a request of roff is shown:\n%s", out.String())
			}
			for _, want := range []string{"NAME", "SYNOPSIS", "DESCRIPTION"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %s in\n%s", want, out.String())
				}
			}
		})
	}
}
