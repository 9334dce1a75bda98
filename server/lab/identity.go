package lab

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"troy/image/fields"
	"troy/server/protocol"
)

// Own is what a machine is to get in Windows: an identity without its secrets, and where these are.
type Own struct {
	protocol.Identity
	Secrets []Secret
}

// Identity returns what a machine of a room is to get, by its name in the lab; nil where the room has
// "identity: off". It knows nothing of other machines (see Named). An error says why Windows cannot
// be given the name: *fields.ValueError. Hosts of lab.yaml have none.
func (l *Lab) Identity(room, name string) (*Own, error) {
	p, ok := l.Room(room)
	if !ok || p.Identity == IdentityOff {
		return nil, nil
	}
	p.take(l.hostIn(room, name))
	own := &Own{Identity: protocol.Identity{Required: p.Identity == IdentityRequired}}
	var err error
	if own.Name, err = pcName(p.PCName, room, name); err != nil {
		return nil, err
	}
	for _, k := range slices.Sorted(maps.Keys(p.Settings)) {
		own.Settings = append(own.Settings, protocol.Setting{Field: string(k), Number: uint32(p.Settings[k])})
	}
	for _, k := range slices.Sorted(maps.Keys(p.Values)) {
		own.Values = append(own.Values, protocol.Value{Key: string(k), Text: string(p.Values[k])})
	}
	for _, k := range slices.Sorted(maps.Keys(p.Secrets)) {
		path, ok := expand(string(p.Secrets[k]), room, name)
		if !ok {
			return nil, noNumber(name, "the path of the secret "+string(k))
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(l.file), path)
		}
		own.Secrets = append(own.Secrets, Secret{Key: string(k), Path: path})
	}
	return own, nil
}

// take puts what a host has of its own over the policy of its room. h may be nil.
func (p *Policy) take(h *Host) {
	if h == nil {
		return
	}
	if h.PCName != "" {
		p.PCName = h.PCName
	}
	p.Settings = merged(h.Settings, p.Settings)
	p.Values = merged(h.Values, p.Values)
	p.Secrets = merged(h.Secrets, p.Secrets)
}

// pcName is the name in Windows that a pattern gives.
func pcName(p Pattern, room, host string) (string, error) {
	name, ok := expand(string(p), room, host)
	if !ok {
		return "", noNumber(host, "pc_name")
	}
	return name, fields.CheckName(name)
}

func noNumber(host, what string) error {
	return &fields.ValueError{Name: "name", Reason: fmt.Sprintf("%q ends in no digits for the {number} in %s", host, what)}
}

// PCName is the name in Windows that Identity gives; "" where the room has "identity: off".
func (l *Lab) PCName(room, name string) (string, error) {
	p, ok := l.Room(room)
	if !ok || p.Identity == IdentityOff {
		return "", nil
	}
	p.take(l.hostIn(room, name))
	return pcName(p.PCName, room, name)
}

// hostIn is the host of that name, nil if the room has none.
func (l *Lab) hostIn(room, name string) *Host {
	if h := l.byName[Name(name)]; h != nil && string(h.Room) == room {
		return h
	}
	return nil
}

// Named returns the host of lab.yaml that has a name in Windows, in letters of any case; nil if none
// has it.
func (l *Lab) Named(pc string) *Host { return l.byPC[FoldPC(pc)] }

// FoldPC is the spelling by which names in Windows are compared.
func FoldPC(pc string) string { return strings.ToUpper(pc) }
