package version

import (
	"runtime/debug"
	"testing"
)

func TestString(t *testing.T) {
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	for _, c := range []struct {
		name  string
		build debug.BuildInfo
		want  string
	}{
		{"tag", debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: "v0.2.0"},
			Settings: []debug.BuildSetting{setting("vcs.revision", "0123456789abcdef"), setting("vcs.time", "2031-02-03T04:05:06Z")}},
			"v0.2.0 (commit 0123456789ab, go1.26.0)"},
		{"changed", debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: "(devel)"},
			Settings: []debug.BuildSetting{setting("vcs.revision", "0123"), setting("vcs.modified", "true")}},
			"(devel) (commit 0123 with changes, go1.26.0)"},
		{"named", debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: "1.2"}}, "1.2 (go1.26.0)"},
		{"no repository", debug.BuildInfo{GoVersion: "go1.26.0"}, "(devel) (commit unknown, go1.26.0)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := from(&c.build).String(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if Get().Go == "" {
		t.Error("this test does not know its Go")
	}
}
