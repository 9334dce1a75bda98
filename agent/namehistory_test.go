package agent

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"troy/diskwriter/machine"
	"troy/image/fields"
	"troy/server/protocol"
)

// anOwn is what an order may say, and what Windows finds with it, and without its secrets.
type anOwn struct {
	own         *protocol.Identity
	whole, bare found
}

func newOwn(name, account, key string, number uint32, required bool) anOwn {
	id := &protocol.Identity{Name: name, Required: required, Settings: []protocol.Setting{{Field: fields.DisablePasswordChange, Number: number}}}
	const file = `{"host":"pc-01","name":"%s","room":"b204"%s}`
	values := ""
	if key != "" {
		id.Values = append(id.Values, protocol.Value{Key: "key", Text: key, Secret: true})
		values = `,"values":{"key":"` + key + `"}`
	}
	if account != "" {
		id.Values = append(id.Values, protocol.Value{Key: accountSlot, Text: account, Secret: true})
	}
	o := anOwn{id, called(name, fmt.Sprintf(file, name, values), strings.Replace(answersText, "<a>", "<a>"+account, 1)), called(name, fmt.Sprintf(file, name, ""), answersText)}
	o.whole.number, o.bare.number = number, number
	return o
}

// aHistory is a machine whose server, room and user do what they like.
type aHistory struct {
	*bench
	r      *rand.Rand
	owns   []anOwn
	now    anOwn // that orders say
	forgot bool  // the journal was lost once, so the machine does not know what it is called
	log    string
}

// TestNameHistories: whatever the room, the user and the server do in which order, Windows finds what
// is the machine's own in full, without its secrets, or not at all; with a server and without a
// session in full; and what the machine reports is so.
func TestNameHistories(t *testing.T) {
	histories, steps := 1, 6
	if os.Getenv("TROY_SOAK") == "1" {
		histories, steps = 40, 14
	}
	for range histories {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			h := &aHistory{bench: newNamedBench(t, protocol.MergeLazy), r: rand.New(rand.NewPCG(seed, 0))}
			h.addVersion3() // which has no place for anything
			h.owns = []anOwn{{nil, published, published}, newOwn("aa-1", "", "", 0, false), newOwn("bb-2", "", "", 1, false), newOwn("aa-1", "JOIN", "", 1, false),
				newOwn("aa-1", "JOIN2", "k1", 1, false), newOwn("aa-1", "", "", 1, true), newOwn("aa-1", "", "k2", 0, false)}
			h.now, h.orders.Own, h.orders.Version = h.owns[0], nil, 1
			for range steps {
				if h.step(); t.Failed() {
					t.Fatalf("%s%s", h.log, h.out.String())
				}
			}
		})
	}
}

// step changes something, and lets the machine start.
func (h *aHistory) step() {
	h.t.Helper()
	switch o := &h.orders; h.r.IntN(8) {
	case 0, 1, 2:
		h.now = h.owns[h.r.IntN(len(h.owns))]
		o.Own = h.now.own
	case 3:
		o.Version = min(o.Version+h.r.IntN(2), 3)
	case 4:
		o.Rules.Reset = []protocol.Reset{protocol.ResetBoot, protocol.ResetUpdate, protocol.ResetKey}[h.r.IntN(3)]
	case 5:
		o.Rules.Merge = []protocol.Merge{protocol.MergeNow, protocol.MergeLazy}[h.r.IntN(2)]
	case 6:
		o.Rules.Starts = []protocol.Starts{protocol.StartsDirect, protocol.StartsAgent}[h.r.IntN(2)]
	case 7:
		if h.r.IntN(4) == 0 {
			h.forgetVersion()
			h.forgot = true
		}
	}
	session, online := h.r.IntN(2) == 0, h.r.IntN(3) > 0
	if session {
		h.student()
	}
	h.log += fmt.Sprintf("own %+v, version %d, rules %+v, forgot %t, session %t, server %t\n", h.now.own, h.orders.Version, h.orders.Rules, h.forgot, session, online)
	h.start(online)
	s := h.state()
	if s.Version == 0 {
		return // it is not known what it holds
	}
	is := h.findsUnder(s.Version)
	if !h.known(is, s.Version) {
		h.t.Errorf("version %d: Windows finds %+v", s.Version, is)
	}
	if online {
		h.truth(&s, is)
	}
}

// start lets the machine start, which always ends in Windows.
func (h *aHistory) start(online bool) {
	h.t.Helper()
	h.handed = false
	h.out.Reset()
	url := h.url
	if !online {
		h.url = nowhere
	}
	a := h.agent()
	if h.url = url; !online {
		a.o.patience = 10 * time.Millisecond
	}
	if code := a.run(h.t.Context()); !h.handed {
		h.t.Errorf("exit code %d, and not handed over", code)
	}
}

// findsUnder is what Windows finds under a session.
func (h *aHistory) findsUnder(version int) found {
	h.t.Helper()
	have, as := h.shows(), min(version, 2) // the third has the fields' places too, and no fields
	const text = 200_000                   // bytes at 1 MiB: of the third version, and of the session
	copy(have[1<<20:1<<20+text], h.read([]string{h.v1, h.v2}[as-1])[1<<20:])
	return h.findsIn(have, as)
}

// known tells whether Windows may find that at all.
func (h *aHistory) known(is found, version int) bool {
	for _, o := range h.owns {
		if is == published || version < 3 && (is == o.whole || is == o.bare) {
			return true
		}
	}
	return false
}

// truth compares the last report with what Windows finds.
func (h *aHistory) truth(s *machine.State, is found) {
	h.t.Helper()
	told := h.reports[len(h.reports)-1].Named
	if told == nil {
		told = &protocol.Named{}
	}
	all := told.Lacks == "" && told.Secrets
	switch name := strings.TrimSuffix(is.names[2], published.names[2]); {
	case told.Name != name && !h.forgot:
		h.t.Errorf("it reports %+v, and is called %q", *told, name)
	case s.Version == 3:
	case !s.SessionWritten && !s.SessionUnknown && is != h.now.whole:
		h.t.Errorf("without a session Windows finds %+v", is)
	case h.now.own != nil && all && is != h.now.whole, h.now.own != nil && !all && is == h.now.whole && !h.forgot:
		h.t.Errorf("it reports %+v, and Windows finds %+v", *told, is)
	}
}
