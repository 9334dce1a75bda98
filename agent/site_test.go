package agent

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/image/trust"
	"troy/server/protocol"
)

// TestOwnKey: a machine makes its key once and shows it at every start, until its journal loses it.
func TestOwnKey(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.run()
	b.run()
	if len(b.peers) != 2 || b.peers[0] != b.peers[1] || len(b.peers[0]) != 2*sha256.Size {
		t.Fatalf("the server saw the keys %q", b.peers)
	}
	b.withTarget(func(t *pcdisk.Target) {
		_, _, err := t.Open()
		b.must(err)
		j, err := machine.OpenJournal(t.Files().Journal)
		b.must(err)
		b.must(j.Put(machine.RecordKey, []byte("damaged")))
	})
	b.run()
	b.run()
	if b.peers[2] == b.peers[0] || b.peers[3] != b.peers[2] {
		t.Errorf("after the key was lost the server saw %q", b.peers)
	}
	if out := b.out.String(); strings.Contains(out, "new key") {
		t.Errorf("the key that was made does not stay: %s", out)
	}
}

// TestStolenServer: a server that was replaced is known by what the admin signed, without a visit to
// the machine, and the old key is refused from then on, also by a machine that asks nobody else.
func TestStolenServer(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.orders.Version = 1
	old := b.url
	if code := b.run(); code != ExitDone {
		t.Fatalf("with the old server: exit code %d", code)
	}
	replacement := filepath.Join(b.dir, "replacement.key")
	b.signServers(trust.Server{Key: b.keyName(replacement)})
	b.url = b.serveAs(b.store, replacement)
	if code := b.run(); code != ExitDone || len(b.peers) != 2 || !strings.Contains(b.out.String(), "servers: list 2 of the signed servers is in force") {
		t.Errorf("with its replacement: exit code %d, %d check-ins", code, len(b.peers))
	}
	b.url = old
	before := b.digest(pcdisk.Journal, pcdisk.Mailbox)
	b.stopped(b.run(), ExitUntouched, "check-in", "the server's key is not one that the site's signed list names")
	if len(b.peers) != 2 || len(b.reports) != 2 || b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
		t.Errorf("the stolen server heard %d check-ins and %d reports", len(b.peers), len(b.reports))
	}
}

// TestForgedList: a server that no list names cannot name itself.
func TestForgedList(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	own := b.store
	b.store = b.forgedStore()
	forger := filepath.Join(b.dir, "forger.key")
	b.signServers(trust.Server{Key: b.keyName(forger)})
	b.url = b.serveAs(b.store, forger)
	b.store = own
	b.stopped(b.run(), ExitUntouched, "the server's key is not one", "trust")
	if len(b.peers) != 0 || len(b.reports) != 0 {
		t.Errorf("the forger heard %d check-ins, %d reports", len(b.peers), len(b.reports))
	}
}

// TestWhichServer: the signed list counts more than what an earlier start or the media say, what is
// typed counts alone, and none is asked by plain HTTP.
func TestWhichServer(t *testing.T) {
	const dead = "https://127.0.0.1:1"
	for name, c := range map[string]struct {
		kept, typed string // "" = none, "server" = where the server is
		listed      string
		want        string // "" = the server is asked
	}{
		"listed, kept is dead":           {kept: dead, listed: "server"},
		"kept, listed is dead":           {kept: "server", listed: dead},
		"only listed":                    {listed: "server"},
		"typed":                          {typed: "server", listed: dead},
		"typed is dead":                  {typed: dead, listed: "server", want: "connection refused"},
		"by plain HTTP":                  {typed: "http://127.0.0.1:1", listed: "server", want: "no server is named"},
		"none at all":                    {want: "no server is named"},
		"by plain HTTP, and a right one": {kept: "http://127.0.0.1:1", listed: "server"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, protocol.MergeNow)
			at := func(s string) []string {
				if s == "" {
					return nil
				}
				return []string{strings.Replace(s, "server", b.url, 1)}
			}
			b.signServers(trust.Server{Key: b.keyName(filepath.Join(b.dir, "server.key")), URLs: at(c.listed)})
			b.carryServers()
			a := b.agent()
			a.o.Net.Servers, a.o.Typed = at(c.kept), at(c.typed)
			code := a.run(t.Context())
			t.Log(b.out.String())
			if c.want != "" {
				b.stopped(code, ExitUntouched, c.want)
			} else if code != ExitDone || len(b.peers) == 0 {
				t.Errorf("exit code %d, %d check-ins", code, len(b.peers))
			}
		})
	}
}

// TestHint: a machine that has nothing to do learns of another list by its order.
func TestHint(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.orders.Version = 1
	b.run()
	server := b.keyName(filepath.Join(b.dir, "server.key"))
	b.signServers(trust.Server{Key: server}, trust.Server{Key: b.keyName(filepath.Join(b.dir, "next.key")), Next: true})
	list, err := trust.ParseServers(b.listed())
	b.must(err)
	b.servers = list.Digest()
	for i, want := range []bool{true, false} {
		b.run()
		if got := strings.Contains(b.out.String(), "servers: list 2 of"); got != want {
			t.Errorf("start %d after the signing: the list was taken %t, want %t", i+1, got, want)
		}
	}
}

// TestMailbox: each hand-off leaves a message for Windows, another one than before.
func TestMailbox(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	var left []string
	for range 2 {
		b.run()
		if out := b.out.String(); strings.Contains(out, "mailbox") {
			t.Errorf("the agent complains: %s", out)
		}
		b.onVolume(func(root string) {
			text, err := os.ReadFile(filepath.Join(root, "Troy", pcdisk.Mailbox))
			b.must(err)
			if len(text) != pcdisk.MailboxSize || !strings.HasPrefix(string(text), "troymbx1") || !strings.Contains(string(text), `"name":"pc-01"`) {
				t.Errorf("the mailbox has %d bytes: %.100q", len(text), text)
			}
			left = append(left, string(text))
		})
	}
	if left[0] == left[1] {
		t.Error("two hand-offs left the same message")
	}
}
