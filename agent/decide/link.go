package decide

import (
	"fmt"
	"slices"
	"time"

	"troy/server/protocol"
)

const (
	// LinkPatience is how long a start waits for the network, where neither an order nor the kernel
	// arguments say something else: ports that open late (802.1X, LACP) take most of it.
	LinkPatience = 60 * time.Second
	// HurriedPatience is how long it waits at most while somebody may be waiting for Windows.
	HurriedPatience = 10 * time.Second
)

// Link is what the last order said of waiting for the network.
type Link struct {
	Patience int               `json:"patience,omitempty"` // seconds; 0 = LinkPatience
	Windows  []protocol.Weekly `json:"windows,omitempty"`  // none = not known
}

// linkOf is what an order says.
func linkOf(r *protocol.Rules) Link { return Link{Patience: r.LinkPatience, Windows: r.Windows} }

func (l *Link) equals(m *Link) bool {
	return l.Patience == m.Patience && slices.Equal(l.Windows, m.Windows)
}

// linkPatience is how long this start waits for the network, and why; hurry says that somebody may
// be waiting for Windows.
func linkPatience(f *Facts) (long time.Duration, hurry bool, why string) {
	patience := LinkPatience
	if s := f.Memo.Link.Patience; s > 0 {
		patience = time.Duration(min(s, protocol.MaxLink)) * time.Second
	}
	if f.LinkPatience > 0 {
		patience = f.LinkPatience
	}
	now := func(w protocol.Weekly) bool { return w.Holds(f.Now) }
	switch w := f.Memo.Link.Windows; {
	case f.unbootable() || f.Disk.Condition == Missing:
		return patience, false, "there is no Windows on this disk that somebody waits for"
	case f.Woken:
		return patience, false, "the machine was woken"
	case len(w) == 0:
		return patience, false, "no order has said when the room is worked on"
	case f.ClockUnsure:
		return patience, false, "it is not known whether a window is open"
	case slices.ContainsFunc(w, now):
		return patience, false, "a window is open"
	}
	return min(patience, HurriedPatience), true, "no window is open"
}

func connect(f *Facts) *Step {
	if f.Done.did(Connect) {
		return nil
	}
	patience, hurry, why := linkPatience(f)
	return &Step{Kind: Connect, Patience: patience, Hurry: hurry, Reason: fmt.Sprintf("reach the server; the network is waited for up to %.0f s: %s", patience.Seconds(), why)}
}
