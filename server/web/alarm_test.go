package web

import (
	"strings"
	"testing"

	"troy/server/protocol"
)

// TestUnnamed: what a machine is called in Windows, and what it lacks there, is shown and counted.
func TestUnnamed(t *testing.T) {
	s := newSite(t, 2, Options{Public: true})
	s.promote(2)
	s.checkIn(1, 2, func(in *protocol.CheckIn) { in.Named = &protocol.Named{Name: "PC-<1>"} })
	c := s.browser()
	if _, page := s.get(c, "/"); strings.Contains(page, "unnamed") {
		t.Error("a room without names has unnamed machines")
	}
	s.lab(strings.Replace(labYAML, "B204: {", "B204: {identity: wanted, ", 1))
	s.checkIn(1, 2, func(in *protocol.CheckIn) { in.Named = &protocol.Named{Name: "PC-<1>", Lacks: "no <room> for it"} })
	_, page := s.get(c, "/")
	for _, text := range []string{`class="tile current alarm"`, "<b>1</b> unnamed", `<b class="bad">1 unnamed</b>`, `<span class="error">no &lt;room&gt; for it</span>`} {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not show %q", text)
		}
	}
	if _, page := s.get(c, "/host?id=b204-01"); !strings.Contains(page, `<dt>Name in Windows</dt><dd>PC-&lt;1&gt; → b204-01</dd>`) || !strings.Contains(page, `<p class="fault">no &lt;room&gt; for it</p>`) {
		t.Error("the page of the machine does not show it")
	}
	s.checkIn(1, 2, nil)
	if _, page := s.get(c, "/host?id=b204-01"); !strings.Contains(page, `<dd>as published → b204-01</dd>`) || !strings.Contains(page, `<p class="warning">In Windows: it gets the name b204-01`) {
		t.Error("the page of the machine does not show what comes")
	}
	if _, metrics := s.get(c, "/metrics"); !strings.Contains(metrics, `troy_machines_unnamed{room="B204"} 1`) || !strings.Contains(metrics, `troy_machines_unnamed{room="test"} 0`) {
		t.Error("the metrics do not count it")
	}
}

// A machine that ran Windows without the agent is red on all pages and counted, though it has its
// version; what it claims is text, not markup.
func TestAlarm(t *testing.T) {
	s := newSite(t, 2, Options{Public: true})
	s.promote(2)
	s.checkIn(1, 2, nil)
	c := s.browser()
	if _, page := s.get(c, "/"); strings.Contains(page, " alarm\"") || strings.Contains(page, "need attention") {
		t.Error("an alarm without a reason")
	}
	s.checkIn(1, 2, func(in *protocol.CheckIn) { in.Without = "Windows ran without the agent: <b>why</b>" })
	_, page := s.get(c, "/")
	for _, text := range []string{`class="tile current alarm"`, "<b>1</b> need attention", `<b class="bad">1 need attention</b>`,
		`<span class="error">Windows ran without the agent: &lt;b&gt;why`} {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not show %q", text)
		}
	}
	if _, page := s.get(c, "/host?id=b204-01"); !strings.Contains(page, `<p class="fault">Windows ran without`) {
		t.Error("the page of the machine does not show it")
	}
	if _, metrics := s.get(c, "/metrics"); !strings.Contains(metrics, `troy_machines_attention{room="B204"} 1`) || !strings.Contains(metrics, `troy_machines_compared{result="ordered",room="B204"} 0`) {
		t.Error("the metrics do not count it")
	}
}
