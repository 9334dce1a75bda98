package qemutests

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"troy/trial/vm"
)

// times prints what the parts of a start take, in seconds: of one that the agent makes, and of a
// direct one. GRUB's block allows direct starts.
func (p *agentPC) times() {
	p.t.Helper()
	direct := p.timed()
	if !strings.Contains(direct.text(), directScreen) {
		p.t.Fatalf("no direct start:\n%s", direct.text())
	}
	p.agentNext()
	agent := p.timed()
	p.reports++
	firmware, grub, agentSays, restarts := "BdsDxe: starting Boot", "Welcome to GRUB!", "deploy: ", "deploy: restarting into Windows"
	kernel := agent.kernel()
	again := agent.at(firmware, agent.at(restarts, 0))
	row := func(part string, a, d time.Duration) {
		text := func(d time.Duration) string {
			if d == 0 {
				return "–"
			}
			return fmt.Sprintf("%.1f", d.Seconds())
		}
		p.t.Logf("| %s | %s | %s |", part, text(a), text(d))
	}
	sleep := direct.at(directScreen, 0)
	row("firmware, up to the loader", agent.at(grub, 0), direct.at(grub, 0))
	row("loader (GRUB), up to Linux or its line", kernel-agent.at(grub, 0), sleep-direct.at(grub, 0))
	row("its line, up to the first of Windows", 0, direct.at(windowsStarted, 0)-sleep)
	row("Linux, up to the agent's first line", agent.at(agentSays, 0)-kernel, 0)
	row("agent, up to the restart", agent.at(restarts, 0)-agent.at(agentSays, 0), 0)
	row("restart, and firmware again", again-agent.at(restarts, 0), 0)
	row("up to the first line of Windows", agent.at(windowsStarted, 0)-again, 0)
	row("**sum**", agent.at(windowsStarted, 0), direct.at(windowsStarted, 0))
}

// stamped are the lines of the serial log, by when they came after power-on.
type stamped []struct {
	after time.Duration
	line  string
}

// timed starts the PC from its own disk.
func (p *agentPC) timed() stamped {
	p.t.Helper()
	c, err := p.Config()
	if err != nil {
		p.t.Fatal(err)
	}
	var mu sync.Mutex
	var all stamped
	var begin time.Time
	c.OnLine = func(line string) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, struct {
			after time.Duration
			line  string
		}{time.Since(begin), line})
	}
	begin = time.Now()
	m, err := vm.Start(p.t.Context(), c)
	if err != nil {
		p.t.Fatal(err)
	}
	defer m.Close()
	if err := m.Wait(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	windowsRan(p.t, p.PC)
	mu.Lock()
	defer mu.Unlock()
	return all
}

// at is when the first line with these words came, later than some time.
func (s stamped) at(words string, later time.Duration) time.Duration {
	for _, l := range s {
		if l.after > later && strings.Contains(l.line, words) {
			return l.after
		}
	}
	return 0
}

var kernelTime = regexp.MustCompile(`^\[ *(\d+\.\d+)\]`)

// kernel is when Linux started, by the time that it says itself.
func (s stamped) kernel() time.Duration {
	for _, l := range s {
		if m := kernelTime.FindStringSubmatch(l.line); m != nil {
			seconds, _ := strconv.ParseFloat(m[1], 64)
			return l.after - time.Duration(seconds*float64(time.Second))
		}
	}
	return 0
}

func (s stamped) text() string {
	var b strings.Builder
	for _, l := range s {
		b.WriteString(l.line + "\n")
	}
	return b.String()
}
