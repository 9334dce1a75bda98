// Package version says which build a program is.
package version

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
)

// Info is what the Go command recorded in a program. What it could not know is empty.
type Info struct {
	Module string    // version of the main module: a tag, or a pseudo-version of the commit
	Commit string    // hash of the commit
	Dirty  bool      // files differed from the commit
	Time   time.Time // of the commit
	Go     string    // version of Go
}

// named is what the linker writes into the agent of a boot bundle (go build -ldflags "-X"): the
// release. The Go command's own record would make its bytes depend on the folder of the checkout.
var named string

// Get returns what this program was built from.
func Get() Info {
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return Info{Module: named}
	}
	i := from(b)
	i.Module = cmp.Or(named, i.Module)
	return i
}

func from(b *debug.BuildInfo) Info {
	i := Info{Module: b.Main.Version, Go: b.GoVersion}
	for _, s := range b.Settings {
		switch s.Key {
		case "vcs.revision":
			i.Commit = s.Value
		case "vcs.modified":
			i.Dirty = s.Value == "true"
		case "vcs.time":
			i.Time, _ = time.Parse(time.RFC3339, s.Value) // zero: not known
		}
	}
	return i
}

// devel is what the Go command calls a version that it does not know.
const devel = "(devel)"

// shortHash is how many digits of a commit's hash are shown.
const shortHash = 12

// String is one line: module version, commit, Go.
func (i Info) String() string {
	if i.Commit == "" && i.Short() != devel {
		return fmt.Sprintf("%s (%s)", i.Module, i.Go)
	}
	commit := "commit unknown"
	if i.Commit != "" {
		commit = "commit " + i.Commit[:min(len(i.Commit), shortHash)]
	}
	if i.Dirty {
		commit += " with changes"
	}
	return strings.TrimSpace(fmt.Sprintf("%s (%s, %s)", i.Short(), commit, i.Go))
}

// Short is the module version alone.
func (i Info) Short() string {
	return cmp.Or(i.Module, devel)
}
