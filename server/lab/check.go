package lab

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"troy/internal/identity"
	"troy/server/protocol"
)

// check finds what the types cannot say: names of nothing, doubled addresses, windows that are
// none.
func (d *decoder) check(l *Lab) {
	if l.Format != formatNumber {
		d.at("format", fmt.Sprint(l.Format), fmt.Sprint(formatNumber))
	}
	var err error
	if l.loc, err = time.LoadLocation(string(l.Zone)); err != nil {
		d.at("zone", fmt.Sprintf("%q", l.Zone), l.Zone.want())
	}
	if len(l.Mirrors) > 8 {
		d.at("mirrors", fmt.Sprintf("%d of them", len(l.Mirrors)), "at most 8")
	}
	d.policy(l, "defaults", &l.Defaults)
	for _, name := range l.RoomNames() {
		d.room(l, name)
	}
	d.unknown(l)
	d.circles(l)
	d.hosts(l)
	d.identity(l)
}

// at adds a fault of a member, or of the next thing around it that is in the file.
func (d *decoder) at(path, found, expected string) {
	at := path
	for d.where[at] == nil && at != "" {
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	d.addAt(d.where[at], path, found, expected)
}

func (d *decoder) policy(l *Lab, path string, p *Policy) {
	d.known(join(path, "image"), p.Image, l.Images, "one of images")
	if p.After != "" && l.Rooms[p.After] == nil {
		d.at(join(path, "after"), fmt.Sprintf("%q", p.After), "one of rooms")
	}
	for i, w := range p.Windows {
		if w.From == w.To {
			d.at(fmt.Sprintf("%s.windows[%d].to", path, i), w.To.String(), "another time than from")
		}
	}
}

func (d *decoder) room(l *Lab, name string) {
	path := join("rooms", name)
	d.policy(l, path, l.Rooms[Name(name)])
	p, _ := l.Room(name)
	if p.Image == "" && p.Version > 0 {
		d.at(path, "a version without an image", "image here or in defaults")
	}
	if p.Starts == Starts(protocol.StartsDirect) && p.Reset != ResetUpdate {
		d.at(join(path, "starts"), fmt.Sprintf("direct with reset: %s", p.Reset), "reset: update, or starts: agent: it takes the agent to reset a machine")
	}
	if len(p.Windows) == 0 && !*p.Always {
		d.at(path, "no windows", "windows here or in defaults, or always: true")
	}
}

// unknown checks what machines get that are not listed.
func (d *decoder) unknown(l *Lab) {
	if l.Rooms[UnknownCode] != nil {
		d.at(join("rooms", string(UnknownCode)), fmt.Sprintf("a room called %q", UnknownCode), "another name: unknown: code means a code on the screen")
	}
	if room := l.Guests(); room != "" && l.Rooms[Name(room)] == nil {
		d.at("unknown", fmt.Sprintf("%q", room), "code or one of rooms")
	}
}

// circles finds rooms that wait for each other.
func (d *decoder) circles(l *Lab) {
	for _, name := range l.RoomNames() {
		at := name
		for range l.Rooms {
			p, _ := l.Room(at)
			if at = string(p.After); at == "" || at == name {
				break
			}
		}
		if at == name {
			d.at(join("rooms", name)+".after", "a room that waits for this one", "an order that ends")
		}
	}
}

func (d *decoder) hosts(l *Lab) {
	l.byName, l.byRoom = map[Name]*Host{}, map[Name][]*Host{}
	ids := map[string]*Host{}
	var lines []identity.Line
	for i := range l.Hosts {
		h := &l.Hosts[i]
		path := fmt.Sprintf("hosts[%d]", i)
		if l.Rooms[h.Room] == nil {
			d.at(path+".room", fmt.Sprintf("%q", h.Room), "one of rooms")
		}
		d.known(path+".image", h.Image, l.Images, "one of images")
		if p, ok := l.Room(string(h.Room)); ok && h.Version > 0 && h.Image == "" && p.Image == "" {
			d.at(path+".version", "a version without an image", "image here, in the room or in defaults")
		}
		if h.MAC == "" && h.UUID == "" {
			d.at(path, "neither mac nor uuid", "one of them")
		}
		if l.byName[h.Name] != nil {
			j := slices.IndexFunc(l.Hosts, func(o Host) bool { return o.Name == h.Name })
			d.at(path+".name", fmt.Sprintf("%q, which hosts[%d] has", h.Name, j), "a name of its own")
		}
		l.byName[h.Name] = h
		l.byRoom[h.Room] = append(l.byRoom[h.Room], h)
		d.address(ids, path+".mac", string(h.MAC), string(h.MAC), h)
		d.address(ids, path+".uuid", h.UUID.folded(), string(h.UUID), h)
		if h.UUID != "" && l.shares(h.UUID) {
			d.at(path+".uuid", string(h.UUID)+", which many boards have", "mac alone, or the UUID of one machine")
		}
		lines = append(lines, h.Line())
	}
	for _, list := range l.byRoom {
		slices.SortStableFunc(list, func(a, b *Host) int { return strings.Compare(string(a.Name), string(b.Name)) })
	}
	var shared []string
	for _, u := range l.Shared {
		shared = append(shared, u.folded())
	}
	l.listing = identity.NewListing(lines, shared)
}

// shares tells whether a UUID is a placeholder.
func (l *Lab) shares(u UUID) bool {
	return identity.Placeholder(string(u)) || slices.ContainsFunc(l.Shared, func(s UUID) bool { return s.folded() == u.folded() })
}

// address refuses an address that another host has, in whatever notation.
func (d *decoder) address(ids map[string]*Host, path, id, text string, h *Host) {
	if id == "" {
		return
	}
	if other := ids[id]; other != nil {
		d.at(path, fmt.Sprintf("%s, which %s has", text, other.Name), "an address of its own")
		return
	}
	ids[id] = h
}

func (d *decoder) known(path string, name Name, list []Name, expected string) {
	if name != "" && len(list) > 0 && !slices.Contains(list, name) {
		d.at(path, fmt.Sprintf("%q", name), expected)
	}
}
