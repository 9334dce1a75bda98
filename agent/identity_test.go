package agent

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"troy/agent/decide"
	"troy/chainload"
	"troy/diskwriter/pcdisk"
	"troy/image/fields"
	"troy/internal/format"
	"troy/server/protocol"
)

const nowhere = "https://127.0.0.1:1" // reserved: nothing listens there

// newNamedBench is a room that names its machines: pc-01 is called B204-17 in Windows.
func newNamedBench(t *testing.T, merge protocol.Merge) *bench {
	b := newBench(t, merge)
	b.orders.Room, b.orders.Own = "b204", &protocol.Identity{Name: "B204-17"}
	return b
}

// own17 is what Windows finds then in a version.
var own17 = called("B204-17", `{"host":"pc-01","name":"B204-17","room":"b204"}`, answersText)

// reported is the last report, which has to say this of the name.
func (b *bench) reported(want protocol.Named) {
	b.t.Helper()
	r := b.reports[len(b.reports)-1]
	if r.Named == nil || r.Named.Name != want.Name || r.Named.Secrets != want.Secrets || !strings.Contains(r.Named.Lacks, want.Lacks) || (want.Lacks == "") != (r.Named.Lacks == "") {
		b.t.Errorf("the report says %+v, want %+v", r.Named, want)
	}
}

// alone is a start without a server.
func (b *bench) alone() {
	b.t.Helper()
	url := b.url
	b.url, b.handed = nowhere, false
	b.out.Reset()
	a := b.shown.on(b.agent())
	a.o.patience = 10 * time.Millisecond
	if code := a.run(b.t.Context()); code != ExitUntouched && code != ExitUnfinished || !b.handed {
		b.t.Fatalf("exit code %d, handed over %t\n%s", code, b.handed, b.out.String())
	}
	b.url = url
}

// journal is all that the journal ever wrote.
func (b *bench) journal() (all []byte) {
	b.t.Helper()
	b.withTarget(func(tg *pcdisk.Target) {
		f, err := tg.MapFiles()
		b.must(err)
		all = make([]byte, f.Journal.Size)
		_, err = f.Journal.ReadAt(all, 0)
		b.must(err)
	})
	return all
}

// A version gets the machine's name before it starts for the first time. Every reset brings it back,
// without a server too, and an update has it from its first start.
func TestNamed(t *testing.T) {
	b := newNamedBench(t, protocol.MergeNow)
	b.orders.Version, b.orders.Rules.Reset = 1, protocol.ResetBoot
	b.done()
	b.is(1, own17, "the first order")
	b.reported(protocol.Named{Name: "B204-17", Secrets: true})
	if b.checkIn.Named != nil {
		t.Errorf("it checked in with %+v", b.checkIn.Named)
	}
	before := b.digest(pcdisk.Journal, pcdisk.Mailbox)
	b.done()
	if b.digest(pcdisk.Journal, pcdisk.Mailbox) != before || strings.Contains(b.out.String(), "trust:") {
		t.Error("a start with nothing to do wrote to the disk, or asked the store")
	}
	if n := b.checkIn.Named; n == nil || *n != (protocol.Named{Name: "B204-17", Secrets: true}) {
		t.Errorf("it checked in with %+v", n)
	}
	b.student()
	b.alone()
	b.is(1, own17, "a reset without a server")

	b.orders.Version = 2
	b.student()
	b.done()
	b.is(2, own17, "the next version")
	steps := b.reports[len(b.reports)-1].Steps
	at := func(k decide.Kind) int {
		return slices.IndexFunc(steps, func(s protocol.Step) bool { return s.Kind == string(k) })
	}
	if !(0 < at(decide.Stage) && at(decide.Stage) < at(decide.Want) && at(decide.Want) < at(decide.Commit) && at(decide.Commit) < at(decide.Personalise) && at(decide.Personalise) < at(decide.HandOff)) {
		t.Errorf("steps %+v", steps)
	}
	b.student()
	b.alone()
	b.is(2, own17, "the next version, reset without a server")
}

// Where identity is required, a version that has no place for it is not even fetched, or, staged
// already, not committed: the old one starts, with its name. Where it is wanted, what has a place is
// written, and the store is not asked again.
func TestNoPlace(t *testing.T) {
	for name, staged := range map[string]bool{"to be fetched": false, "staged before": true} {
		t.Run(name, func(t *testing.T) {
			b := newNamedBench(t, protocol.MergeLazy)
			b.orders.Version = 1
			b.done()
			if staged {
				b.stageVersion2(false)
			}
			b.orders.Version = 2
			b.orders.Own.Required, b.orders.Own.Settings = true, []protocol.Setting{{Field: fields.Hiberboot, Number: 0}}
			b.stopped(b.run(), ExitUntouched, testImage+" version 2 is not put in place, because its room says identity: required: the version has no field hiberboot-enabled", "set `identity: wanted`")
			if strings.Contains(b.out.String(), " to fetch") {
				t.Error("something was fetched")
			}
			b.is(1, own17, "refused")
			b.reported(protocol.Named{Name: "B204-17", Secrets: true, Lacks: "no field hiberboot-enabled"})

			b.orders.Own.Required = false
			b.done()
			b.is(2, own17, "wanted")
			b.reported(protocol.Named{Name: "B204-17", Secrets: true, Lacks: "the version has no field hiberboot-enabled"})
			b.done()
			if strings.Contains(b.out.String(), "trust:") {
				t.Error("the store is asked again for what it does not have")
			}
		})
	}
}

// Another name waits for the session to go; where there is none it comes at once, and so does none.
func TestAnotherName(t *testing.T) {
	b := newNamedBench(t, protocol.MergeLazy)
	b.orders.Version, b.orders.Rules.Reset = 1, protocol.ResetUpdate
	b.done()
	b.orders.Own = &protocol.Identity{Name: "b204-18", Settings: []protocol.Setting{{Field: fields.DisablePasswordChange, Number: 1}},
		Values: []protocol.Value{{Key: "printer", Text: "hp <1>"}, {Key: ownerSlot, Text: "Lab & Co"}}}
	want := called("b204-18", `{"host":"pc-01","name":"b204-18","room":"b204","values":{"printer":"hp \u003c1\u003e"}}`, strings.Replace(answersText, "me", "Lab &amp; Co", 1))
	want.number = 1
	b.done()
	b.is(1, want, "Windows wrote nothing")
	b.student()
	b.orders.Own = &protocol.Identity{Name: "B204-17"}
	b.done()
	b.reported(protocol.Named{Name: "b204-18", Lacks: "B204-17: it is called so after the next reset"})
	if s := b.state(); !s.SessionWritten {
		t.Errorf("the session is gone: %+v", s)
	}
	b.orders.Rules.Reset = protocol.ResetBoot
	b.done()
	b.is(1, own17, "after the reset")
	b.orders.Own = nil
	b.done()
	b.is(1, published, "identity: off")
	if n := b.reports[len(b.reports)-1].Named; n != nil || b.checkIn.Named.Name != "B204-17" {
		t.Errorf("identity: off: %+v, at check-in %+v", n, b.checkIn.Named)
	}
	b.student()
	b.alone()
	b.is(1, published, "identity: off, reset without a server")
}

// A machine that no server knows any more keeps its name.
func TestUnassignedKeepsItsName(t *testing.T) {
	b := newNamedBench(t, protocol.MergeLazy)
	b.orders.Version, b.orders.Rules.Reset = 1, protocol.ResetBoot
	b.done()
	b.student()
	b.orders.Own, b.orders.Room, b.orders.Code = nil, "", "QX7M"
	b.done()
	b.is(1, own17, "no longer assigned")
}

// Secrets are written, and told nobody: not the journal, the report, the lines, the page. After a
// reset without a server their places are as published, until a server gives them again.
func TestSecrets(t *testing.T) {
	const join, key = "QUJDREVG-join-blob", "k3y-of-the-lab"
	b := newNamedBench(t, protocol.MergeLazy)
	b.orders.Version, b.orders.Rules.Reset = 1, protocol.ResetBoot
	b.orders.Own.Values = []protocol.Value{{Key: "printer", Text: "hp-b204"}, {Key: accountSlot, Text: join, Secret: true}, {Key: "key", Text: key, Secret: true}}
	whole := called("B204-17", `{"host":"pc-01","name":"B204-17","room":"b204","values":{"key":"`+key+`","printer":"hp-b204"}}`, strings.Replace(answersText, "<a>", "<a>"+join, 1))
	bare := called("B204-17", `{"host":"pc-01","name":"B204-17","room":"b204","values":{"printer":"hp-b204"}}`, answersText)
	told := ""
	start := func(when string, run func(), want found) {
		t.Helper()
		if run != nil {
			run()
		} else if code := b.shown.on(b.agent()).run(t.Context()); code != ExitDone {
			t.Fatalf("%s: exit code %d\n%s", when, code, b.out.String())
		}
		b.is(1, want, when)
		told += b.out.String()
	}
	start("with a server", nil, whole)
	b.reported(protocol.Named{Name: "B204-17", Secrets: true})
	b.student()
	start("a reset with a server", nil, whole)
	b.student()
	start("a reset without a server", b.alone, bare)
	if p := strings.Join(b.shown.pages, "\n"); strings.Contains(p, "unnamed") || strings.Contains(p, "it could not be noted") {
		t.Errorf("what comes in the same start is lacking:\n%s", p)
	}
	if p := b.shown.last(); !strings.Contains(p, "pc-01 (in Windows: B204-17) room b204") || !strings.Contains(p, "Windows lacks its secrets, until a reset with a server") {
		t.Errorf("the last page:\n%s", p)
	}
	start("a server again, Windows wrote nothing", nil, whole)
	if n := b.checkIn.Named; n == nil || n.Name != "B204-17" || n.Secrets || !strings.Contains(n.Lacks, "its secrets, until a reset with a server") {
		t.Errorf("it checked in with %+v", n)
	}
	b.student()
	start("without a server again", b.alone, bare)
	b.student()
	b.orders.Rules.Reset = protocol.ResetUpdate
	b.done()
	b.reported(protocol.Named{Name: "B204-17", Lacks: "its secrets, until a reset with a server"})
	told += b.out.String()

	all, err := format.Marshal(map[string]any{"reports": b.reports, "check-in": b.checkIn})
	b.must(err)
	heard := map[string][]byte{"journal": b.journal(), "messages": all, "lines": []byte(told), "page": []byte(strings.Join(b.shown.pages, ""))}
	for _, secret := range []string{join, key} {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret))} {
			for where, text := range heard {
				if bytes.Contains(text, []byte(form)) {
					t.Errorf("%s: the secret %s is there as %s", where, secret, form)
				}
			}
		}
	}
	if !bytes.Contains(heard["journal"], []byte("B204-17")) || !strings.Contains(told, "B204-17") {
		t.Error("the name is not there either, so this test finds nothing")
	}
}

// A rollback after starts in vain, without a server, has the name that the version had.
func TestRollbackIsNamed(t *testing.T) {
	b := newNamedBench(t, protocol.MergeLazy)
	b.orders.Version = 1
	b.done()
	b.orders.Version = 2
	for range chainload.MaxStarts {
		b.done()
		b.is(2, own17, "before")
	}
	b.alone()
	if s := b.state(); s.Version != 1 {
		t.Fatalf("it was not rolled back: %+v", s)
	}
	b.is(1, own17, "rolled back")
}

// The setup of a version finds the answers at its first start. From then on its session is kept: what
// changes waits.
func TestSetupFindsItsAnswers(t *testing.T) {
	b := newLayoutBench(t, protocol.MergeNow, layout{hive: setupHive(t), own: true})
	b.orders.Room, b.orders.Rules.Reset = "b204", protocol.ResetBoot
	b.orders.Own = &protocol.Identity{Required: true, Name: "B204-17", Values: []protocol.Value{{Key: accountSlot, Text: "djoin", Secret: true}}}
	want := own17
	want.file = strings.Replace(want.file, "<a>", "<a>djoin", 1)
	b.done()
	b.is(2, want, "before setup")
	if s := b.state(); s.SessionWritten || s.IdentityPending {
		t.Errorf("%+v", s)
	}
	b.setsProgress(1)
	b.orders.Own = &protocol.Identity{Name: "B204-18"}
	b.done()
	b.reported(protocol.Named{Name: "B204-17", Lacks: "B204-18: it is called so after the next reset"})
	if s := b.state(); !s.SessionWritten {
		t.Errorf("the session of the setup is gone: %+v", s)
	}
	// Discarded, it begins once more, with what it lacked.
	b.orders.Own.Values = []protocol.Value{{Key: accountSlot, Text: "another", Secret: true}}
	b.orders.End = &protocol.EndSetup{ID: "1", Leave: true, Of: protocol.Want{Image: testImage, Version: 2, Manifest: b.manifestOf(testImage, 2)}}
	b.done()
	want = called("B204-18", `{"host":"pc-01","name":"B204-18","room":"b204"}`, strings.Replace(answersText, "<a>", "<a>another", 1))
	b.is(2, want, "discarded")
	b.reported(protocol.Named{Name: "B204-18", Secrets: true})
}

// A reinstall leaves nothing unnamed, and a version that cannot be named is not begun.
func TestReinstallIsNamed(t *testing.T) {
	b := newNamedBench(t, protocol.MergeNow)
	b.forgetVersion()
	b.orders.Permits.Reinstall = true
	b.run() // makes the machine's key
	b.permit(reinstalls)
	b.orders.Own.Required, b.orders.Own.Settings = true, []protocol.Setting{{Field: "later", Number: 1}}
	b.stopped(b.run(), ExitUntouched, "version 2 is not put in place", "no field later")
	b.holds(b.v1)
	b.orders.Own.Settings = nil
	b.done()
	b.is(2, own17, "reinstalled")
	b.reported(protocol.Named{Name: "B204-17", Secrets: true})
}

// A page of a field is wrong on the disk: nothing is written there, the machine starts unnamed, and
// both are said.
func TestWrongPageOfAField(t *testing.T) {
	b := newNamedBench(t, protocol.MergeLazy)
	b.orders.Version, b.orders.Rules.Reset = 1, protocol.ResetBoot
	disk := b.read(b.v1)
	b.wrongPages(disk, fieldsAt[0])
	b.done()
	b.reported(protocol.Named{Lacks: "page"})
	if s := b.state(); s.IdentityKept || s.IdentityApplied != "" {
		t.Errorf("%+v", s)
	}
}

// The lists of an order may come in any order, and what is in them counts.
func TestIdentityOf(t *testing.T) {
	order := func(change func(*protocol.Order)) string {
		o := &protocol.Order{Name: "pc-01", Room: "b204", Identity: &protocol.Identity{Name: "PC", Settings: []protocol.Setting{{Field: "a", Number: 1}, {Field: "b"}},
			Values: []protocol.Value{{Key: "x", Text: "1"}, {Key: "y", Text: "2"}}}}
		change(o)
		return identityOf(o)
	}
	is := order(func(*protocol.Order) {})
	if is == "" || is != order(func(o *protocol.Order) { slices.Reverse(o.Identity.Settings); slices.Reverse(o.Identity.Values) }) {
		t.Error("the order of the lists counts")
	}
	if identityOf(nil) != "" || identityOf(&protocol.Order{Name: "pc"}) != "" {
		t.Error("an order without an identity has one")
	}
	for i, change := range []func(*protocol.Order){
		func(o *protocol.Order) { o.Name = "pc-02" }, func(o *protocol.Order) { o.Room = "b205" }, func(o *protocol.Order) { o.Identity.Name = "PD" },
		func(o *protocol.Order) { o.Identity.Required = true }, func(o *protocol.Order) { o.Identity.Settings[0].Number = 2 },
		func(o *protocol.Order) { o.Identity.Values[1].Text = "3" }, func(o *protocol.Order) { o.Identity.Values[1].Secret = true },
	} {
		if order(change) == is {
			t.Errorf("change %d does not count", i)
		}
	}
}
