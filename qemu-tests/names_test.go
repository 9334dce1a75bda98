package qemutests

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"troy/diskwriter/machine"
	"troy/image/fields"
	"troy/internal/testing/testlab"
	"troy/server/protocol"
)

// nameless is what Windows finds in a version as published.
var nameless = testlab.InWindows{Computer: "WIN-0123456789A", Hostname: "WIN-0123456789A", NVHostname: "WIN-0123456789A"}

// namingMoments are lines after which the power goes while a PC becomes version 2 and gets its name.
var namingMoments = []string{
	`deploy: .* version 1 → 2`, `deploy: fetch: .* in .* s,`, `deploy: identity: in .* version 2`, `version 2 is committed`, `deploy: merge: .* in .* s,`,
	`deploy: personalise: `,
}

// naming is a room that names its PCs.
type naming struct {
	t   *testing.T
	lab *testlab.Lab
}

// is reads from the disk what a PC is called.
func (n *naming) is(pc *testlab.PC) (is testlab.InWindows) {
	n.t.Helper()
	is, err := pc.InWindows(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	return is
}

// named wants a PC of a room to hold version 2 with its name, and nothing else than that.
func (n *naming) named(pc *testlab.PC, name, host, room string, chain ...string) {
	n.t.Helper()
	if is, want := n.is(pc), testlab.Called(name, host, room); is != want {
		n.t.Errorf("%s: Windows finds %+v, want %+v", host, is, want)
	}
	v := &fields.Values{Name: name, Machine: fields.MachineJSON(name, host, room, nil)}
	raw, err := n.lab.WithOwn(n.t.Context(), n.lab.Windows.V2, 2, v)
	if err != nil {
		n.t.Fatal(err)
	}
	defer os.Remove(raw)
	holds(n.t, pc, raw, chain...)
}

// deploys lets a PC run undisturbed.
func (n *naming) deploys(pc *testlab.PC) {
	n.t.Helper()
	if serial, err := pc.FromKernel(n.t.Context(), "troy.server="+testlab.ServerURL); err != nil {
		n.t.Fatalf("%v\n%s", err, serial)
	}
}

// cut cuts the power after a line. What Windows would find then is a version as published, or with its
// name; nothing between. It tells whether the PC was not through before.
func (n *naming) cut(pc *testlab.PC, line string, after time.Duration, name, host string) bool {
	n.t.Helper()
	if err := pc.KillAt(n.t.Context(), line, after); err != nil {
		if strings.Contains(err.Error(), "it was through") {
			return false
		}
		n.t.Fatal(err)
	}
	is := n.is(pc)
	n.t.Logf("%s, cut %v after %q: it is called %s", host, after, line, is.Hostname)
	if is != nameless && is != testlab.Called(name, host, "default") {
		n.t.Errorf("after a cut Windows finds %+v", is)
	}
	return true
}

// Three PCs of a room get one version and three names, read from their disks afterwards. The power of
// one of them is cut at each step. A reset keeps the name, with a server and without one.
func TestNames(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; in TestRoom a PC gets a name")
		return
	}
	n := &naming{t: t, lab: smallLab(t, "")}
	server, err := n.lab.Serve(t.Context(), testlab.Room{Version: 2, Keys: `merge: now, reset: boot, identity: required, pc_name: "lab-{number}"`})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	const pcs = 3
	for i := 1; i <= pcs; i++ {
		pc, err := n.lab.NewPC(t.Context(), fmt.Sprintf("named%d", i))
		if err != nil {
			t.Fatal(err)
		}
		host := pc.Host()
		name := "lab-" + strings.TrimPrefix(host, "pc-")
		if i == 1 {
			cuts := 0
			for k, line := range namingMoments {
				if n.cut(pc, line, time.Duration(k%3)*50*time.Millisecond, name, host) {
					cuts++
				}
			}
			if cuts < len(namingMoments)/2 {
				t.Errorf("only %d of %d cuts hit", cuts, len(namingMoments))
			}
		}
		n.deploys(pc)
		n.named(pc, name, host, "default", machine.BootName, machine.BaseName)
		n.reported(server, name)
		if i == pcs {
			n.resets(pc, server, name, host)
		}
	}
}

// A PC whose empty disk becomes one of Troy's has its name at its first start.
func TestNamesProvisioned(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; package agent reinstalls a PC with a name")
		return
	}
	n := &naming{t: t, lab: smallLab(t, "")}
	server, err := n.lab.Serve(t.Context(), testlab.Room{Version: 2, Keys: provision + `, identity: required, pc_name: "lab-{number}"`})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	pc, err := n.lab.NewBarePC("named-bare")
	if err != nil {
		t.Fatal(err)
	}
	name := "lab-" + strings.TrimPrefix(pc.Host(), "pc-")
	n.deploys(pc)
	n.named(pc, name, pc.Host(), "default", machine.BootName, machine.BaseName)
	n.reported(server, name)
}

// reported wants the last report to say the name, and logs what each step cost.
func (n *naming) reported(server *testlab.Server, name string) {
	n.t.Helper()
	reports, err := server.Reports()
	if err != nil {
		n.t.Fatal(err)
	}
	r := reports[len(reports)-1]
	if r.Named == nil || *r.Named != (protocol.Named{Name: name, Secrets: true}) {
		n.t.Errorf("%s reports %+v", name, r.Named)
	}
	for _, s := range r.Steps {
		n.t.Logf("%s: %s: %.0f ms, %d bytes", name, s.Kind, 1000*s.Seconds, s.Written)
	}
}

// resets resets a PC after a session, with a server and without one.
func (n *naming) resets(pc *testlab.PC, server *testlab.Server, name, host string) {
	n.t.Helper()
	windowsRan(n.t, pc)
	n.deploys(pc)
	n.named(pc, name, host, "default", machine.BootName, machine.BaseName)
	n.reported(server, name)
	server.Kill()
	windowsRan(n.t, pc)
	serial, err := pc.FromKernel(n.t.Context(), "troy.server="+testlab.ServerURL+" troy.link-patience=5")
	if err != nil {
		n.t.Fatalf("%v\n%s", err, serial)
	}
	inOrder(n.t, "the serial line", serial, "the machine is reset to version 2", "personalise: Windows finds the name "+name)
	n.named(pc, name, host, "default", machine.BootName, machine.BaseName)
}
