package agent

import (
	"cmp"
	"strings"

	"troy/agent/decide"
	"troy/diskwriter/machine"
	"troy/server/protocol"
)

// named tells what Windows has of what is the machine's own; nil: nothing is wanted, and it has
// nothing.
func (n *naming) named() *protocol.Named {
	m, f := n.disk.machine, n.facts
	if m == nil || f.Disk.Condition != decide.Opened || f.Disk.State.Reinstalling {
		return nil
	}
	s := m.State()
	if !s.IdentityKept && s.IdentityApplied == "" && f.Identity == "" {
		return nil
	}
	lacks := n.lacks(m, &s)
	return &protocol.Named{Name: protocol.Clean(m.Applied()[nameValue], protocol.MaxText), Lacks: protocol.Clean(lacks, protocol.MaxText),
		Secrets: s.IdentityKept && (f.Identity == "" || s.IdentityOf == f.Identity) && complete(&s) && m.Wanted().Values[secretsValue] == ""}
}

// complete tells whether all was written that has a place.
func complete(s *machine.State) bool {
	return s.IdentityWanted != "" && (s.IdentityApplied == s.IdentityWanted || s.IdentityApplied == "" && s.IdentityWanted == machine.SumEdits(nil))
}

const noSecrets = "its secrets, until a reset with a server"

// lacks says what Windows lacks of what was ordered, and why; "" = nothing.
func (n *naming) lacks(m *machine.Machine, s *machine.State) string {
	f, id := n.facts, m.Wanted()
	switch {
	case f.Identity != "" && s.IdentityOf != f.Identity:
		return cmp.Or(n.failed, decide.Kept(f), "it could not be noted for this version")
	case !s.IdentityKept:
		return ""
	case s.IdentityOf == "":
		return "what it is called in this version is not known without a server"
	case s.IdentityUnknown:
		return "whether Windows has it is not known until the next reset"
	case s.IdentityPending && len(id.Edits) == 0:
		return noSecrets
	case s.IdentityPending:
		return cmp.Or(n.failed, "it is not written yet")
	}
	missing := id.Values[lacksValue]
	if complete(s) {
		return missing
	}
	later := "what is new comes with the next reset"
	switch name := id.Values[nameValue]; {
	case name != m.Applied()[nameValue] && name != "":
		later = name + ": it is called so after the next reset"
	case s.IdentityApplied == machine.SumEdits(id.Edits):
		later = noSecrets
	}
	return strings.TrimSuffix(later+"; "+missing, "; ")
}

// shown is what the page says of it: the name in Windows, if it is not that of the host, and what is
// lacking. What is written before Windows starts is not.
func (n *naming) shown(host string) (called, lacks string) {
	is := n.named()
	if is == nil {
		return "", ""
	}
	f, s := n.facts, n.disk.machine.State()
	comes := s.IdentityPending || f.Identity != "" && s.IdentityOf != f.Identity && decide.Kept(f) == ""
	if called = is.Name; strings.EqualFold(called, host) {
		called = ""
	}
	if comes && n.failed == "" {
		return called, ""
	}
	if is.Name == "" && is.Lacks != "" {
		called = "unnamed"
	}
	return called, is.Lacks
}
