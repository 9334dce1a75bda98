package trust

import (
	"fmt"
	"path"

	"troy/chainload/release"
	"troy/image"
	"troy/image/trust/internal/tree"
	"troy/internal/format"
)

// ReleaseKind is the format of release.json. It needs no words: older agents have to read it to
// become newer ones.
var ReleaseKind = format.Kind{Name: release.Document, Number: 1, Oldest: 1, Bare: true}

// AgentRelease is the document agent/VERSION/release.json, and agent/release.json for the current
// release. Its version is spelled as the name of an image may be.
type AgentRelease struct {
	format.Head
	release.Release
}

// Path returns the name of a file of the release in the tree: what Source.Fetch takes.
func (a *AgentRelease) Path(name string) string { return path.Join(tree.Agent, a.Version, name) }

// Encode returns the document as a store has it.
func (a *AgentRelease) Encode() ([]byte, error) {
	c := *a
	ReleaseKind.Stamp(&c.Head)
	return format.Indent(&c)
}

// ParseRelease takes a document only if all names in it stay in the folder of the release.
func ParseRelease(b []byte) (*AgentRelease, error) {
	var a AgentRelease
	if err := ReleaseKind.Read(b, &a); err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	if err := CheckRelease(a.Version); err != nil {
		return nil, err
	}
	if err := a.Check(); err != nil {
		return nil, err
	}
	return &a, nil
}

// CheckRelease returns image.ErrInvalid unless a version of the agent can have this name: as
// image.CheckName, and not release.json.
func CheckRelease(version string) error {
	if version == release.Document {
		return fmt.Errorf("%w: a release cannot be called %s", image.ErrInvalid, version)
	}
	if err := image.CheckName(version); err != nil {
		return fmt.Errorf("release of the agent: %w", err)
	}
	return nil
}
