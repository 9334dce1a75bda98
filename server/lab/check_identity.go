package lab

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/token"

	"troy/image/fields"
	"troy/image/unattend"
	"troy/server/protocol"
)

// identity checks what machines are to get in Windows, where that is not off. A fault is told once,
// at the place that must change.
func (d *decoder) identity(l *Lab) {
	l.byPC, l.places = map[string]*Host{}, map[string]*token.Position{}
	for path, at := range d.where {
		if strings.Contains(path, "secrets.") {
			l.places[path] = at
		}
	}
	for _, name := range l.RoomNames() {
		if p, _ := l.Room(name); p.Identity != IdentityOff {
			d.own(&p, []string{join("rooms", name), "defaults"})
		}
	}
	for i := range l.Hosts {
		h := &l.Hosts[i]
		if p, ok := l.Room(string(h.Room)); ok && p.Identity != IdentityOff {
			layers := layersOf(l, i)
			p.take(h)
			d.own(&p, layers)
			d.named(l, &p, h, layers)
		}
	}
}

// layersOf are the paths that say what the i-th host gets, the first one counting most.
func layersOf(l *Lab, i int) []string {
	return []string{fmt.Sprintf("hosts[%d]", i), join("rooms", string(l.Hosts[i].Room)), "defaults"}
}

// origin is the member that counts of some layers; of the first one if none has it.
func origin(where map[string]*token.Position, layers []string, member string) string {
	for _, path := range layers {
		if where[join(path, member)] != nil {
			return join(path, member)
		}
	}
	return join(layers[0], member)
}

// once is at for a fault that several machines have in common.
func (d *decoder) once(path, found, expected string) {
	if !slices.ContainsFunc(d.faults, func(e *Error) bool { return e.Path == path }) {
		d.at(path, found, expected)
	}
}

// own checks settings and values.
func (d *decoder) own(p *Policy, layers []string) {
	for _, k := range slices.Sorted(maps.Keys(p.Settings)) {
		var bad *fields.ValueError
		if errors.As(fields.CheckSetting(string(k), uint32(p.Settings[k])), &bad) {
			d.once(origin(d.where, layers, "settings."+string(k)), bad.Reason, "a number that Windows knows")
		}
	}
	size := 0
	for k, text := range p.Values {
		size += len(k) + len(text)
	}
	for _, k := range slices.Sorted(maps.Keys(p.Secrets)) {
		size += len(k)
		if _, both := p.Values[k]; both {
			d.once(origin(d.where, layers, "secrets."+string(k)), "a key of values", "it in values or in secrets alone")
		}
	}
	d.plainSecrets(p, layers)
	d.namesakes(p, layers)
	if n := len(p.Values) + len(p.Secrets); n > protocol.MaxValues {
		d.once(origin(d.where, layers, "values"), fmt.Sprintf("%d values and secrets", n), fmt.Sprintf("at most %d", protocol.MaxValues))
	}
	if size > protocol.MaxContent {
		d.once(origin(d.where, layers, "values"), fmt.Sprintf("%d bytes of values and keys", size), fmt.Sprintf("at most %d", protocol.MaxContent))
	}
}

// plainSecrets finds what Windows itself calls a password or a key among the values: they are kept and
// shown, and go where users can read them.
func (d *decoder) plainSecrets(p *Policy, layers []string) {
	for _, k := range slices.Sorted(maps.Keys(p.Values)) {
		if path := strings.Split(string(k), "/"); len(path) > 1 && unattend.IsSecret(path) {
			d.once(origin(d.where, layers, "values."+string(k)), "a secret", "it under secrets, in a file of its own")
		}
	}
}

// namesakes finds members of machine.json that differ in upper and lower case alone: Windows
// PowerShell reads no such file.
func (d *decoder) namesakes(p *Policy, layers []string) {
	members := map[string]string{} // of the map that has each
	for k := range p.Values {
		members[string(k)] = "values."
	}
	for k := range p.Secrets {
		members[string(k)] = "secrets."
	}
	first := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(members)) {
		folded := strings.ToUpper(k)
		if other, both := first[folded]; both && !strings.Contains(k, "/") {
			d.once(origin(d.where, layers, members[k]+k), fmt.Sprintf("a key that differs from %q in upper and lower case alone", other), "one spelling: PowerShell reads no machine.json with both")
		}
		first[folded] = k
	}
}

// named checks what a host is called in Windows, and notes it.
func (d *decoder) named(l *Lab, p *Policy, h *Host, layers []string) {
	at := layers[0] + ".name"
	if h.PCName != "" {
		at = layers[0] + ".pc_name"
	}
	for _, k := range slices.Sorted(maps.Keys(p.Secrets)) {
		if _, ok := expand(string(p.Secrets[k]), string(h.Room), string(h.Name)); !ok {
			d.once(layers[0]+".name", fmt.Sprintf("%q", h.Name), fmt.Sprintf("digits at its end, for the {number} in %s", origin(d.where, layers, "secrets."+string(k))))
		}
	}
	if _, ok := expand(string(p.PCName), string(h.Room), string(h.Name)); !ok {
		d.once(layers[0]+".name", fmt.Sprintf("%q", h.Name), "digits at its end, for the {number} in pc_name; or give the host a pc_name of its own")
		return
	}
	name, err := pcName(p.PCName, string(h.Room), string(h.Name))
	var bad *fields.ValueError
	if errors.As(err, &bad) {
		d.once(at, "the name in Windows "+bad.Reason, fmt.Sprintf("one of 1 to %d letters, digits, dashes: change it, or give the host a pc_name of its own", fields.MaxName))
		return
	}
	other := l.byPC[FoldPC(name)]
	if other == nil {
		l.byPC[FoldPC(name)] = h
		return
	}
	if h.PCName == "" && !p.PCName.varies() {
		at = origin(d.where, layers, "pc_name")
	}
	if other.Name != h.Name { // else hosts has told it
		d.once(at, fmt.Sprintf("the name %q in Windows, which %s has", name, other.Name), "a name of its own in the whole lab")
	}
}
