package identity

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"
)

// box is a machine that says the truth.
type box struct {
	n       int
	mac     string // of a port that stays; "" = it has only adapters
	uuid    string // "" = a placeholder
	key     string // on its disk; "" = the disk is bare
	line    string // by which lab.yaml means it
	record  string // that it has by now
	claimed bool   // a forger was the first to be pinned as it, so it is locked out until an admin helps
}

// model is a lab, its machines, forgers and a server.
type model struct {
	t      *testing.T
	r      *rand.Rand
	boxes  []*box
	lines  []Line
	list   *Listing
	server Register
	next   int
}

func (m *model) fresh(form string) string {
	m.next++
	return fmt.Sprintf(form, m.next)
}

func newModel(t *testing.T, r *rand.Rand) *model {
	m := &model{t: t, r: r}
	for i := range 12 {
		b := &box{n: i, mac: m.fresh("mac-%d"), uuid: m.fresh("uuid-%d")}
		switch i % 6 {
		case 0: // a PC, listed by its MAC address
			b.line = m.list1(Line{MAC: b.mac})
		case 1: // the same with a placeholder
			b.uuid = ""
			b.line = m.list1(Line{MAC: b.mac})
		case 2: // a laptop that has adapters alone, listed by its UUID
			b.mac = ""
			b.line = m.list1(Line{UUID: b.uuid})
		case 3: // listed by both
			b.line = m.list1(Line{MAC: b.mac, UUID: b.uuid})
		case 4: // a stranger
		case 5: // a stranger with an adapter and a placeholder
			b.mac, b.uuid = "", ""
		}
		m.boxes = append(m.boxes, b)
	}
	m.list = NewListing(m.lines, nil)
	return m
}

func (m *model) list1(l Line) string {
	l.Name = m.fresh("pc-%d")
	m.lines = append(m.lines, l)
	return l.Name
}

func (b *box) claims(key string) Claims {
	c := Claims{Key: key, Lasts: b.key != "", UUID: b.uuid, All: b.mac + " " + b.uuid + " adapter"}
	if b.mac != "" {
		c.MACs = []string{b.mac}
	}
	return c
}

// admit checks in at the server, and checks what holds for everybody.
func (m *model) admit(c Claims) (Known, Verdict) {
	whole := Judge(c, m.list, slices.Collect(maps.Values(m.server.known)))
	if v := m.server.Judge(c, m.list); !reflect.DeepEqual(v, whole) {
		m.t.Fatalf("by the index %+v, by all records %+v", v, whole)
	}
	before := m.server.known[whole.ID]
	k, v := m.server.Admit(c, m.list, m.fresh("record-%d"))
	if before.Pin != "" && c.Key != before.Pin {
		m.t.Fatalf("a record with the pin %s was given to the key %s: %+v", before.Pin, c.Key, v)
	}
	lines, pins := map[string]string{}, map[string]string{}
	for id, k := range m.server.known {
		if k.Doubt != "" {
			if k.Pin != "" || k.Line.Name != "" {
				m.t.Fatalf("in doubt, and vouched for: %+v", k)
			}
			continue
		}
		if other := lines[k.Line.Name]; other != "" && k.Line.Name != "" {
			m.t.Fatalf("%s and %s both are %s", id, other, k.Line.Name)
		}
		if other := pins[k.Pin]; other != "" && k.Pin != "" {
			m.t.Fatalf("%s and %s both have the pin %s", id, other, k.Pin)
		}
		lines[k.Line.Name], pins[k.Pin] = id, id
	}
	return k, v
}

// start is a start of a machine that says the truth.
func (m *model) start(b *box) {
	key := b.key
	if key == "" {
		key = m.fresh("once-%d") // made for this start
	}
	k, v := m.admit(b.claims(key))
	if k.Line.Name != b.line && (v.Doubt == "" || k.Line.Name != "") {
		m.t.Fatalf("machine %d, %q in lab.yaml, is %+v, %+v", b.n, b.line, k, v)
	}
	for _, other := range m.boxes {
		if other != b && other.record == k.ID {
			m.t.Fatalf("machines %d and %d share the record %s", b.n, other.n, k.ID)
		}
	}
	pinned := b.key != "" && m.server.known[b.record].Pin == b.key
	switch {
	case pinned && (v.Doubt != "" || k.ID != b.record):
		m.t.Fatalf("machine %d has the pinned key and does not go on: %+v, %+v", b.n, k, v)
	case b.line != "" && v.Doubt != "" && !b.claimed:
		m.t.Fatalf("machine %d is stopped: %+v", b.n, v)
	}
	if got := m.server.Whose(b.claims(key), m.list); got.ID != k.ID {
		m.t.Fatalf("the report of machine %d is that of %+v", b.n, got)
	}
	b.record = k.ID
}

// forge is a check-in of somebody else who copied what is no secret.
func (m *model) forge() {
	victim := m.boxes[m.r.IntN(len(m.boxes))]
	c := victim.claims("")
	if m.r.IntN(2) == 0 {
		other := m.boxes[m.r.IntN(len(m.boxes))]
		c.UUID, c.All = other.uuid, m.fresh("all-%d")
	}
	switch m.r.IntN(4) {
	case 0:
		c.MACs = nil
	case 1:
		c.UUID = ""
	}
	if m.r.IntN(3) > 0 {
		c.Key = m.fresh("forged-%d")
	}
	c.Lasts = c.Key != "" && m.r.IntN(8) == 0
	k, _ := m.admit(c)
	for _, b := range m.boxes {
		if b.line == "" || k.Line.Name == "" {
			continue
		}
		if k.Line.Name == b.line && m.server.known[b.record].Pin == b.key && b.key != "" {
			m.t.Fatalf("a forger is machine %d, which is pinned: %+v", b.n, k)
		}
		// The first pin is believed: that machine, and one whose UUID it took, wait for the admin.
		b.claimed = b.claimed || k.Pin == c.Key && c.Key != "" && (k.Line.Name == b.line || c.UUID != "" && c.UUID == b.uuid)
	}
}

// change is what becomes of a machine.
func (m *model) change(b *box) {
	pinned := b.key != "" && m.server.known[b.record].Pin == b.key
	switch m.r.IntN(4) {
	case 0: // it gets a disk
		if b.key == "" {
			b.key = m.fresh("key-%d")
		}
	case 1: // the board tells another UUID since a repair; lab.yaml does not know
		if pinned && b.mac != "" && b.uuid != "" {
			b.uuid = m.fresh("uuid-%d")
			m.start(b)
		}
	case 2: // a new board, which lab.yaml is told of
		i := slices.IndexFunc(m.lines, func(l Line) bool { return l.Name == b.line })
		if i < 0 || b.mac == "" || b.claimed {
			return
		}
		b.mac, b.uuid = m.fresh("mac-%d"), m.fresh("uuid-%d")
		m.lines[i] = Line{Name: b.line, MAC: b.mac}
		m.list = NewListing(slices.Clone(m.lines), nil)
		m.server.Relist(m.list)
		m.start(b)
	case 3: // its disk is copied into a machine that nobody knows
		if !pinned {
			return
		}
		copied := &box{mac: m.fresh("mac-%d"), uuid: m.fresh("uuid-%d"), key: b.key}
		if k, v := m.admit(copied.claims(b.key)); v.Doubt == "" || k.ID == b.record {
			m.t.Fatalf("a copy of the disk of machine %d is %+v", b.n, k)
		}
	}
}

// TestModel: whatever comes in which order, no two machines share a record, a stranger is nobody's
// machine, and who has the pinned key goes on.
func TestModel(t *testing.T) {
	rounds := 40
	if os.Getenv("TROY_SOAK") == "1" {
		rounds *= 100
	}
	pinned := 0
	for range rounds {
		seed := rand.Uint64()
		m := newModel(t, rand.New(rand.NewPCG(seed, 0)))
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			m.t = t
			for range 300 {
				switch b := m.boxes[m.r.IntN(len(m.boxes))]; m.r.IntN(4) {
				case 0:
					m.forge()
				case 1:
					m.change(b)
				default:
					m.start(b)
				}
			}
			for _, b := range m.boxes {
				if b.key != "" && m.server.known[b.record].Pin == b.key {
					pinned++
				}
			}
		})
	}
	if pinned < 3*rounds {
		t.Errorf("only %d machines were pinned in %d rounds: nothing was shown", pinned, rounds)
	}
}
