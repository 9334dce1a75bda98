package agent

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"troy/agent/page"
)

// However the agent ends, the machine goes on by itself, or stays as it is where a restart would
// only end there again. A prompt is nowhere.
func TestSupervised(t *testing.T) {
	ended := func(code string) error { return exec.Command("sh", "-c", code).Run() }
	for name, c := range map[string]struct {
		end  error
		did  string
		says string
	}{
		"restarted too late":           {nil, "sleep, reset", "restarted in 60 s"},
		"nothing may be done here":     {ended("exit 3"), "stay", "stays as it is"},
		"unfinished, not restarted":    {ended("exit 4"), "sleep, reset", "restarted in 60 s"},
		"Windows could not be started": {ended("exit 5"), "sleep, reset", "restarted in 60 s"},
		"a panic":                      {ended("exit 2"), "windows, sleep, reset", "the agent broke (exit status 2)"},
		"killed, out of memory":        {ended("kill -9 $$"), "windows, sleep, reset", "the agent broke (signal: killed)"},
		"it cannot be started":         {errors.New("exec format error"), "windows, sleep, reset", "the agent broke (exec format error)"},
	} {
		t.Run(name, func(t *testing.T) {
			var did []string
			note := func(what string) func() error {
				return func() error { did = append(did, what); return nil }
			}
			var out bytes.Buffer
			var shown *page.Fault
			s := &supervisor{out: &out, show: func(f *page.Fault) { shown = f }, said: func() string { return "panic: nil" }, agent: func() error { return c.end }, windows: note("windows"), reset: note("reset"),
				stay: func() { did = append(did, "stay") }, sleep: func(context.Context, time.Duration) error { return note("sleep")() }}
			s.run(t.Context())
			if broke := strings.HasPrefix(c.did, "windows"); broke != (shown != nil) || broke && !strings.Contains(shown.What, c.end.Error()+" panic: nil") {
				t.Errorf("the screen shows %+v", shown)
			}
			if got := strings.Join(did, ", "); got != c.did || !strings.Contains(out.String(), c.says) {
				t.Errorf("%s, %q; want %s, %q", got, out.String(), c.did, c.says)
			}
		})
	}
}

// Of all that a program says when it breaks, one line says why.
func TestLastWords(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "",
		"exit\n":                     "",
		"x\npanic: a\n\ngoroutine 1": "panic: a",
		"fatal error: out of memory\n" + strings.Repeat("x", 10000): "fatal error: out of memory",
		strings.Repeat("x\n", 10000) + "panic: late":                "",
	} {
		var l lastWords
		for part := range strings.SplitSeq(text, " ") {
			l.Write([]byte(part + " "))
		}
		if got := l.String(); got != want {
			t.Errorf("%.40q: %q, want %q", text, got, want)
		}
	}
}
