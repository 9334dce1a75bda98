package image

import (
	"errors"
	"fmt"
	"maps"

	"troy/image/internal/fault"
	"troy/image/internal/layer"
	"troy/internal/format"
)

// SetupWord is needed by manifests with Setup.
const SetupWord = "setup"

// The formats of a store. Tables with their packs and maps are not JSON and have no words: those of
// the manifest that leads to them count.
var (
	MarkerKind   = format.Kind{Name: MarkerName, Number: 1, Oldest: 1}
	IndexKind    = format.Kind{Name: "versions.json", Number: 1, Oldest: 1}
	ManifestKind = format.Kind{Name: "the manifest", Number: 1, Oldest: 1, Words: append([]string{SetupWord}, fieldKinds...)}
	TableKind    = layer.Format
	MapKind      = format.Kind{Name: "the version map", Number: 1, Oldest: 1}
)

// decode reads a document. It refuses one of its own format, or a newer one, in which something is
// missing that this program would have written: a bit that flipped in the name of a member made it an
// unknown one.
func decode(k *format.Kind, b []byte, v any) error {
	err := k.Read(b, v)
	switch {
	case errors.Is(err, format.ErrMalformed):
		return fault.Corruptf("%v", err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	var h format.Head
	if err := format.Unmarshal(b, &h); err == nil && h.Format < k.Current() {
		return nil // it is older than some of the members
	}
	var is, want any
	c, err := format.Marshal(v)
	if err == nil {
		err = format.Unmarshal(c, &want)
	}
	if err == nil {
		err = format.Unmarshal(b, &is)
	}
	if err != nil || !within(want, is) {
		return fault.Corruptf("%s lacks a member, or has one that is not spelled as this format writes it", k.Name)
	}
	return nil
}

// within tells whether a document has all that another one has. Lists are of the same length.
func within(want, is any) bool {
	switch want := want.(type) {
	case map[string]any:
		is, ok := is.(map[string]any)
		for name := range maps.Keys(want) {
			has, there := is[name]
			ok = ok && there && within(want[name], has)
		}
		return ok
	case []any:
		is, ok := is.([]any)
		ok = ok && len(is) == len(want)
		for i := range want {
			ok = ok && within(want[i], is[i])
		}
		return ok
	}
	return want == is
}
