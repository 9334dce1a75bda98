package rooms

import (
	"fmt"
	"strings"

	"troy/server/protocol"
	"troy/server/state"
)

// refused says why a machine gets no version: its agent and this server have no protocol in common,
// or the store or its disk needs what its agent does not know. "" = it does.
func refused(m *state.Machine) string {
	if why := m.CheckIn.Refused(); why != "" {
		return why
	}
	r := m.Report
	if r == nil || !r.At.Equal(m.Seen) || len(r.Lacks) == 0 {
		return ""
	}
	whose, remedy := "the store", "publish a newer agent (troy agent publish)"
	if m.CheckIn.Detail != "" {
		whose, remedy = "its disk", "start it from the agent on its disk, or from newer media"
	}
	return fmt.Sprintf(`its agent is too old for %s: it does not know "%s"; %s`, whose, strings.Join(r.Lacks, `", "`), remedy)
}

// unheard is the order for a machine whose agent this server does not understand: it starts what it
// has, and gets the release of the agent that this server does.
func (c *Case) unheard(why string) Decision {
	return Decision{Order: protocol.Order{Protocol: protocol.Version, Time: c.Now.UTC(), Repo: protocol.PathRepo, Name: c.Name, Agent: c.Agent,
		Mirrors: c.Lab.MirrorURLs(), Reason: protocol.Clean(why, protocol.MaxText)}}
}

// heard is the check-in that is kept: of an agent that this server does not understand it knows
// what the machine said before, and who it is.
func heard(before, in *protocol.CheckIn) protocol.CheckIn {
	if in.Refused() == "" {
		return *in
	}
	kept := *before
	kept.Protocol, kept.Oldest, kept.Machine, kept.Agent, kept.Without, kept.Direct = in.Protocol, in.Oldest, in.Machine, in.Agent, "", 0
	return kept
}
