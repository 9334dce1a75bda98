package trust

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"

	"troy/chainload/release"
	"troy/image"
	"troy/image/trust/internal/tree"
)

// AgentRelease is the document agent/VERSION/release.json, and agent/release.json for the current
// release. Its version is spelled as the name of an image may be.
type AgentRelease struct {
	// Format is 1.
	Format int `json:"format"`
	release.Release
}

// Path returns the name of a file of the release in the tree: what Source.Fetch takes.
func (a *AgentRelease) Path(name string) string { return path.Join(tree.Agent, a.Version, name) }

// Encode returns the document as a store has it.
func (a *AgentRelease) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(a, "", "  ")
	return append(b, '\n'), err
}

// ParseRelease takes a document only if all names in it stay in the folder of the release.
func ParseRelease(b []byte) (*AgentRelease, error) {
	var a AgentRelease
	if err := strict(b, &a); err != nil || a.Format != 1 {
		return nil, errors.New("trust: this is not a release of format 1")
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
