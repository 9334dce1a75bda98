package identity

import (
	"strings"
	"testing"
)

const (
	macA, macB, macC = "52:54:00:00:00:0a", "52:54:00:00:00:0b", "52:54:00:00:00:0c"
	idA, idB, idC    = "0a000000-0000-0000-0000-000000000001", "0b000000-0000-0000-0000-000000000001", "0c000000-0000-0000-0000-000000000001"
)

func claims(key, uuid string, macs ...string) Claims {
	return Claims{Key: key, Lasts: key != "" && key != "once", MACs: macs, UUID: uuid, All: key + uuid + strings.Join(macs, " ")}
}

// TestJudge: a lab with a PC that is listed by its MAC address, one by MAC address and UUID, one by
// its UUID alone, and what a newcomer is with all its evidence.
func TestJudge(t *testing.T) {
	pc, pc2 := Line{Name: "pc", MAC: macA}, Line{Name: "pc2", MAC: "52:54:00:00:00:0d"}
	both, laptop := Line{Name: "both", MAC: macB, UUID: idB}, Line{Name: "laptop", UUID: idC}
	list := NewListing([]Line{pc, pc2, both, laptop}, []string{"5a000000-0000-0000-0000-000000000001"})
	pinnedPC := Known{ID: "1", Pin: "K1", Line: pc, Claims: claims("K1", idA, macA)}
	freshPC := Known{ID: "1", Line: pc, Claims: claims("once", idA, macA)}
	assigned := Known{ID: "2", Line: Line{Name: "kiosk", MAC: macC, UUID: "d"}, Assigned: true, Claims: claims("", "d", macC)}
	unknown := Known{ID: "3", Claims: claims("K3", "e", "f")}
	doubtful := Known{ID: "4", Claims: claims("K4", "", macA), Doubt: "it has the address of pc, but not its key"}
	moved := Known{ID: "5", Pin: "K5", Line: Line{Name: "pc", MAC: "52:54:00:00:00:99"}, Claims: claims("K5", "g", "52:54:00:00:00:99")}
	for _, x := range []struct {
		name  string
		known []Known
		c     Claims
		id    string // of the record; "" = a new one
		line  string
		doubt string
		also  func(v *Verdict) bool
	}{
		{"nothing is known of it", nil, claims("", "", "52:54:00:00:00:77"), "", "", "", nil},
		{"listed by MAC", nil, claims("", "", macA), "", "pc", "", nil},
		{"listed by UUID", nil, claims("", idC), "", "laptop", "", nil},
		{"listed by both", nil, claims("", idB, macB), "", "both", "", nil},
		{"listed by both, tells no UUID", nil, claims("", "", macB), "", "both", "", nil},
		{"listed by both, another port", nil, claims("", idB, macC), "", "both", "", nil},
		{"a placeholder of the site beside the listed MAC", nil, claims("", "5a000000-0000-0000-0000-000000000001", macB), "", "both", "", nil},
		{"two listed MACs", nil, claims("", "", macA, macB), "", "", "the addresses of pc and of both", nil},
		{"MAC of one, UUID of another", nil, claims("", idC, macA), "", "", "the addresses of pc and of laptop", nil},
		{"the listed MAC with another UUID than listed", nil, claims("", idA, macB), "", "", "but the UUID", nil},

		{"first pin comes later", []Known{freshPC}, claims("K1", idA, macA), "1", "pc", "", nil},
		{"not pinned, another UUID", []Known{freshPC}, claims("once", "x", macA), "1", "pc", "", nil},
		{"what was claimed once does not name it", []Known{freshPC}, claims("", idA), "", "", "", nil},
		{"pinned", []Known{pinnedPC}, claims("K1", idA, macA), "1", "pc", "", nil},
		{"pinned, changed UUID", []Known{pinnedPC}, claims("K1", "x", macA), "1", "pc", "", func(v *Verdict) bool { return strings.Contains(v.Note, "x") }},
		{"pinned, changed card", []Known{pinnedPC}, claims("K1", idA, macC), "1", "pc", "", nil},
		{"pinned, tells nothing else", []Known{pinnedPC}, claims("K1", ""), "1", "pc", "", nil},
		{"pinned, a UUID that another line has", []Known{pinnedPC}, claims("K1", idC, macA), "", "", "has the key of pc, but it has the addresses", nil},
		{"pinned, all else new", []Known{pinnedPC}, claims("K1", "x", macC), "", "", "neither its MAC address nor its UUID", nil},
		{"pinned, in another listed machine", []Known{pinnedPC}, claims("K1", idB, macB), "", "", "neither", nil},
		{"pinned, with the card of another listed machine", []Known{pinnedPC}, claims("K1", idA, macB), "", "", "the address of both", nil},
		{"a laptop claims the MAC of a pinned PC", []Known{pinnedPC}, claims("K9", "x", macA), "", "", "not its key", func(v *Verdict) bool { return v.Against == "1" }},
		{"without a key", []Known{pinnedPC}, claims("", idA, macA), "", "", "not its key", nil},
		{"the UUID of a pinned PC alone", []Known{pinnedPC}, claims("", idA), "", "", "not its key", nil},
		{"a listed MAC, the UUID of a pinned PC", []Known{pinnedPC}, claims("", idA, macC), "", "", "not its key", nil},
		{"the line of another machine, the UUID of a pinned PC", []Known{pinnedPC}, claims("", idA, pc2.MAC), "", "", "the address of pc2, and one of pc", nil},
		{"the line of another machine, a UUID that was only claimed", []Known{freshPC}, claims("", idA, pc2.MAC), "", "pc2", "", nil},

		{"assigned", []Known{assigned}, claims("", "d", macC), "2", "kiosk", "", nil},
		{"assigned, by its UUID", []Known{assigned}, claims("", "d"), "2", "kiosk", "", nil},
		{"assigned, by its MAC", []Known{assigned}, claims("", "", macC), "2", "kiosk", "", nil},
		{"assigned, another UUID", []Known{assigned}, claims("", "x", macC), "", "", "but the UUID", nil},
		{"assigned, with a listed MAC", []Known{assigned}, claims("", "d", macA), "2", "pc", "", nil},
		{"assigned, with the MAC of a known machine", []Known{assigned, freshPC}, claims("", "d", macA), "", "", "the addresses of pc and of kiosk", nil},
		{"unknown again", []Known{unknown}, claims("K3", "e", "f"), "3", "", "", nil},
		{"unknown, another lasting key", []Known{unknown}, claims("K8", "e", "f"), "", "", "", nil},
		{"unknown, now listed", []Known{{ID: "3", Claims: claims("K3", "", macA)}}, claims("K3", "", macA), "3", "pc", "", nil},
		{"in doubt again", []Known{pinnedPC, doubtful}, claims("K4", "", macA), "4", "", "not its key", nil},
		{"in doubt, now without the other", []Known{doubtful}, claims("K4", "", macA), "4", "pc", "", nil},
		{"pinned, its doubts are over", []Known{pinnedPC, {ID: "6", Claims: claims("K1", "x", macA), Doubt: "d"}}, claims("K1", "x", macA), "1", "pc", "",
			func(v *Verdict) bool { return len(v.Drop) == 1 && v.Drop[0] == "6" }},
		{"the successor that lab.yaml names", []Known{moved}, claims("K6", "", macA), "", "pc", "", func(v *Verdict) bool { return len(v.Drop) == 1 && v.Drop[0] == "5" }},
		{"the machine itself with a new board that lab.yaml names", []Known{moved}, claims("K5", "", macA), "5", "pc", "", nil},
		{"pinned, changed card, a laptop with the old one", []Known{{ID: "1", Pin: "K1", Line: pc, Claims: claims("K1", idA, macC)}}, claims("K9", "x", macA), "", "", "not its key", nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			v := Judge(x.c, list, x.known)
			if v.ID != x.id || v.Line.Name != x.line || !strings.Contains(v.Doubt, x.doubt) || (v.Doubt == "") != (x.doubt == "") || x.also != nil && !x.also(&v) {
				t.Errorf("%+v", v)
			}
		})
	}
	if v := Judge(claims("", "", macA), nil, nil); v.ID != "" || v.Doubt != "" {
		t.Errorf("without a lab.yaml: %+v", v)
	}
}

// TestRelist: records follow the lines of another lab.yaml.
func TestRelist(t *testing.T) {
	line := func(name, mac string) Line { return Line{Name: name, MAC: mac} }
	record := func(id, name, mac string) Known {
		return Known{ID: id, Pin: "K" + id, Line: line(name, mac), Claims: claims("K"+id, "", mac)}
	}
	for _, x := range []struct {
		name    string
		lines   []Line
		records []Known
		want    string // names by id
	}{
		{"the same", []Line{line("a", macA)}, []Known{record("1", "a", macA)}, "a"},
		{"renamed", []Line{line("b", macA)}, []Known{record("1", "a", macA)}, "b"},
		{"swapped", []Line{line("b", macA), line("a", macB)}, []Known{record("1", "a", macA), record("2", "b", macB)}, "b a"},
		{"another address", []Line{line("a", macC)}, []Known{record("1", "a", macA)}, "a"},
		{"gone", nil, []Known{record("1", "a", macA)}, "-"},
		{"succeeded", []Line{line("a", macB)}, []Known{record("1", "a", macA), record("2", "b", macB)}, "ghost a"},
		{"assigned before", []Line{line("a", macA)}, []Known{{ID: "1", Line: line("kiosk", macA), Assigned: true, Claims: claims("", "", macA)}}, "a"},
		{"assigned", []Line{line("a", macB)}, []Known{{ID: "1", Line: line("kiosk", macA), Assigned: true, Claims: claims("", "", macA)}}, "kiosk"},
		{"in doubt", []Line{line("b", macA)}, []Known{{ID: "1", Claims: claims("", "", macA), Doubt: "d"}}, "-"},
	} {
		t.Run(x.name, func(t *testing.T) {
			var r Register
			for _, k := range x.records {
				r.Put(k)
			}
			r.Relist(NewListing(x.lines, nil))
			var names []string
			for _, old := range x.records {
				k := r.Get(old.ID)
				switch {
				case k.ID == "":
					names = append(names, "ghost")
				case k.Line.Name == "":
					names = append(names, "-")
				default:
					names = append(names, k.Line.Name)
				}
			}
			if got := strings.Join(names, " "); got != x.want {
				t.Errorf("%s, want %s", got, x.want)
			}
		})
	}
}
