package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"troy/image"
	"troy/internal/testing/needs"
)

// pseudoTerminal makes a terminal: what is written to the first end is typed at the second.
func pseudoTerminal(t *testing.T) (person, tty *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { person.Close() })
	must(t, unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	must(t, err)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { tty.Close() })
	return person, tty
}

// interruptKey is Ctrl-C.
const interruptKey = "\x03"

// endOfInput is Ctrl-D.
const endOfInput = "\x04"

// talk runs the command on a terminal, answers each question (what ends in ": ") with the next
// line, and returns the exit code and all that the terminal showed.
func talk(t *testing.T, bin string, args []string, answers ...string) (int, string) {
	t.Helper()
	person, tty := pseudoTerminal(t)
	cmd := exec.Command(bin, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // it is the command's own: Ctrl-C reaches it
	must(t, cmd.Start())
	tty.Close() // so that reading ends with the command
	deadline := time.AfterFunc(60*time.Second, func() { cmd.Process.Kill() })
	defer deadline.Stop()
	var shown bytes.Buffer
	b := make([]byte, 4096)
	for {
		n, err := person.Read(b)
		shown.Write(b[:n])
		if err != nil { // EIO: nobody has the terminal open any more
			break
		}
		if strings.HasSuffix(shown.String(), ": ") && len(answers) > 0 {
			line := answers[0] + "\n"
			if answers[0] == interruptKey || answers[0] == endOfInput {
				line = answers[0]
			}
			_, err := io.WriteString(person, line)
			must(t, err)
			answers = answers[1:]
		}
	}
	_ = cmd.Wait() // the exit code tells
	if len(answers) > 0 {
		t.Errorf("%q did not ask for %d of the answers: %s", args, len(answers), shown.String())
	}
	return cmd.ProcessState.ExitCode(), shown.String()
}

// TestPassphraseOnTerminal types passphrases at the built command.
func TestPassphraseOnTerminal(t *testing.T) {
	needs.Time(t)
	dir := t.TempDir()
	bin, store := filepath.Join(dir, "troy"), filepath.Join(dir, "store")
	tool(t, "", "go", "build", "-o", bin, ".")
	want := func(code int, shows string, args []string, answers ...string) {
		t.Helper()
		got, shown := talk(t, bin, args, answers...)
		if got != code || !strings.Contains(shown, shows) {
			t.Fatalf("%q: exit code %d, want %d and %q\n%s", args, got, code, shows, shown)
		}
		for _, a := range answers {
			if strings.HasSuffix(a, " horse") && strings.Contains(shown, a) { // a passphrase
				t.Errorf("%q shows what was typed:\n%s", args, shown)
			}
		}
	}
	sealed := func(store string) bool {
		b, err := os.ReadFile(filepath.Join(store, "keys", "admin.key"))
		must(t, err)
		return bytes.Contains(b, []byte(`"box"`))
	}
	const right, wrong = "correct horse", "wrong horse"
	want(exitOK, "differ", []string{"init", filepath.Join(dir, "differing")}, right, wrong, right, right)
	want(exitOK, "made the store", []string{"init", store}, right, right)
	want(exitOK, "made the store", []string{"init", filepath.Join(dir, "open")}, "")
	if !sealed(store) || sealed(filepath.Join(dir, "open")) {
		t.Fatal("sealed are the wrong keys")
	}
	t.Setenv("TROY_STORE", store)
	want(exitOK, "permit to wipe", []string{"permit", "wipe", "--disk", "S1234", "--until", "2099-12-31"}, "yes", right)
	want(exitFailed, "the answer was not yes", []string{"permit", "wipe", "--disk", "S1235", "--until", "2099-12-31"}, "no")
	want(exitFailed, "wrong passphrase", []string{"permit", "withdraw", "--all"}, "yes", wrong)
	want(exitOK, "is a new one", []string{"key", "rotate"}, right) // asked once, for the old and the new key
	want(exitOK, "wipe disk", []string{"permit", "list"})
	want(exitOK, "has a new key", []string{"key", "rotate", "--server"}, right)
	if !sealed(store) {
		t.Error("rotation unsealed the keys")
	}
	want(exitOK, "no permit", []string{"permit", "withdraw", "--all"}, "y", right)

	// What is published is shown before it exists, and asked for.
	disk := filepath.Join(dir, "disk.vhdx")
	want(exitOK, "", []string{"vhdx", "create", "--size", "4M", disk})
	publish := []string{"image", "import", "--force-unbootable", "--no-filter", "pc", disk}
	want(exitFailed, "nothing was published", publish, right, "no")
	want(exitOK, "pc version 1: new, SHA-256 ", publish, right, "yes")

	// Of a medium it is asked what setup is to be answered, again where that is impossible.
	medium := []string{"image", "import", "--size", "0.2", "--edition", "1", "new", installWIM(t)}
	want(exitOK, `language "Deutsch!", want one like de-DE`, medium, right, "Deutsch!", "de-DE", "", "W. Europe Standard Time", "yes", "yes")
	if m := wantJSON[image.Manifest](t, exitOK, "image", "show", "new", "1"); !m.Setup {
		t.Errorf("manifest: %+v", m)
	}

	// An interrupt, typed at the question, ends it.
	want(exitFailed, "interrupted", []string{"key", "rotate"}, interruptKey)

	// Without a terminal it is said what to do, and nothing waits.
	if res := wantTroy(t, exitFailed, "permit", "wipe", "--disk", "S1234", "--until", "2099-12-31"); !strings.Contains(res.errOut, "no terminal") || !strings.Contains(res.errOut, "--passphrase-file") {
		t.Errorf("without a terminal: %s", res.errOut)
	}
	wantTroy(t, exitOK, "key", "refresh")
	wantTroy(t, exitOK, "key", "list")
	t.Setenv("TROY_PASSPHRASE", right)
	wantTroy(t, exitOK, "permit", "wipe", "--disk", "S1234", "--until", "2099-12-31")
}
