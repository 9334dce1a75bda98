package signing

import (
	"strings"
	"testing"

	"troy/image/trust"
	"troy/server/protocol"
	"troy/server/rooms"
)

func TestCompare(t *testing.T) {
	host := func(name, store string, keyed bool, timestamp int64, images ...protocol.Held) rooms.Host {
		return rooms.Host{Name: name, Keyed: keyed, Trusted: &protocol.Trusted{Store: store, Root: 1, Targets: 4, Timestamp: timestamp, Images: images}}
	}
	have := trust.Numbers{Store: "S", Root: 1, Targets: 4, Snapshot: 5, Timestamp: 9, Images: map[string]int{"win11": 6}}
	for name, x := range map[string]struct {
		list  []rooms.Host
		ahead string
		told  int
	}{
		"nobody":                  {nil, "", 0},
		"says nothing":            {[]rooms.Host{{Name: "a", Keyed: true}}, "", 0},
		"behind":                  {[]rooms.Host{host("a", "S", true, 8), host("b", "S", true, 9, protocol.Held{Image: "win11", Version: 6})}, "", 2},
		"ahead":                   {[]rooms.Host{host("a", "S", true, 8), host("b", "S", true, 12)}, "timestamp: 9 here, 8 to 12 on PCs (the highest: b)", 2},
		"not known by its key":    {[]rooms.Host{host("a", "S", false, 1<<30)}, "", 0},
		"of another store":        {[]rooms.Host{host("a", "T", true, 1<<30)}, "", 0},
		"has a lost version":      {[]rooms.Host{host("a", "S", true, 8, protocol.Held{Image: "win11", Version: 7})}, "newest version of win11: 6 here, 7 on PCs (the highest: a)", 1},
		"an image that was ended": {[]rooms.Host{host("a", "S", true, 8, protocol.Held{Image: "win7", Version: 7})}, "", 1},
		"and one that was lost":   {[]rooms.Host{host("a", "S", true, 10, protocol.Held{Image: "win12", Version: 1})}, "timestamp: 9 here, 10 on PCs (the highest: a); newest version of win12: 0 here, 1 on PCs (the highest: a)", 1},
	} {
		got := Compare(x.list, have)
		var ahead []string
		for _, s := range got.Ahead() {
			ahead = append(ahead, s.String())
		}
		if s := strings.Join(ahead, "; "); s != x.ahead || got.Machines != x.told {
			t.Errorf("%s: %d machines tell %q, want %d and %q", name, got.Machines, s, x.told, x.ahead)
		}
	}
	if n := Compare([]rooms.Host{host("a", "S", true, 8), host("b", "S", true, 12, protocol.Held{Image: "x", Version: 3})}, have).Highest; n.Timestamp != 12 || n.Images["x"] != 3 || n.Targets != 4 {
		t.Errorf("the highest are %+v", n)
	}
}
