package protocol

import (
	"fmt"
	"math"
	"strings"

	"troy/internal/errline"
)

// NoVersion is the manifest of what was compared with a version and found to be none of the store's.
var NoVersion = strings.Repeat("0", HashSize)

// Another tells whether a version that a machine has, by its manifest, is another content than the
// store's own of that number; "" = it is not known.
func Another(has, own string) bool {
	return has == NoVersion || has != "" && own != "" && has != own
}

// Is tells whether a version is the one that is wanted; nil = none is.
func (w *Want) Is(image string, version int, manifest string) bool {
	return w != nil && *w == Want{image, version, manifest}
}

// String is the result for people.
func (v *Verified) String() string {
	name, mib := fmt.Sprintf("%s version %d", v.With.Image, v.With.Version), (v.Differ+1<<20-1)>>20
	switch {
	case v.Differ == 0:
		return "equal to " + name
	case v.Adopted:
		return fmt.Sprintf("adopted as %s, %d MiB differed", name, mib)
	}
	return fmt.Sprintf("differs from %s in %d MiB: %s", name, mib, v.Where)
}

func (v *Verify) validate() error {
	if v == nil {
		return nil
	}
	if v.ID == "" {
		return invalid("verify without an id")
	}
	return texts(MaxText, "verify.id", v.ID)
}

func (v *Verified) validate() error {
	if v == nil {
		return nil
	}
	if v.ID == "" || v.Differ < 0 || v.Differ > math.MaxInt64/2 {
		return invalid("verified: id %q, differ %d", v.ID, v.Differ)
	}
	return errline.Join(v.With.validate(), texts(MaxText, "verified.id", v.ID, "verified.where", v.Where))
}

func (e *EndSetup) validate() error {
	if e == nil {
		return nil
	}
	if e.ID == "" {
		return invalid("end_setup without an id")
	}
	return errline.Join(e.Of.validate(), texts(MaxText, "end_setup.id", e.ID))
}

// hashes checks members that are empty or a SHA-256.
func hashes(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if s := pairs[i+1]; s != "" && !isHash(s) {
			return invalid("%s is not a SHA-256 in lower-case hex", pairs[i])
		}
	}
	return nil
}
