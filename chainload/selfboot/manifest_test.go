package selfboot

import (
	"errors"
	"strings"
	"testing"

	"troy/chainload/release"
)

// A manifest on the ESP may be anybody's: its hash is no signature.
func TestParseManifest(t *testing.T) {
	with := func(change func(m *manifest)) []byte {
		_, m, err := newRelease("1").forCopy(A)
		must(t, err)
		change(m)
		b, err := m.marshal()
		must(t, err)
		return b
	}
	named := func(name string) []byte { return with(func(m *manifest) { m.Files[0].Name = name }) }
	good := with(func(*manifest) {})
	says := func(head string) []byte {
		text, _, _ := strings.Cut(string(good), "\n")
		line := []byte(strings.Replace(text, `"format":1`, head, 1) + "\n")
		return append(line, sum(line)...)
	}
	for name, c := range map[string]struct {
		data []byte
		want string // in the error; "" = good
	}{
		"good":        {good, ""},
		"none":        {nil, "hash does not fit"},
		"cut":         {good[:len(good)-1], "hash does not fit"},
		"changed":     {append([]byte(" "), good...), "hash does not fit"},
		"too long":    {with(func(m *manifest) { m.Version = strings.Repeat("9", maxManifest) }), "hash does not fit"},
		"newer":       {says(`"format":7,"more":1`), ""},
		"word":        {says(`"format":7,"needs":["more"]`), `needs "more"`},
		"format":      {says(`"format":0`), "format 0"},
		"no version":  {with(func(m *manifest) { m.Version = "" }), "version"},
		"version":     {with(func(m *manifest) { m.Version = "1 2" }), "version"},
		"other place": {named("../../x"), "cannot be the name"},
		"folder":      {named("a/b"), "cannot be the name"},
		"dot at end":  {named("a."), "cannot be the name"},
		"manifest":    {named("Manifest.JSON"), "cannot be the name"},
		"two alike":   {named("SHIMX64.EFI"), "two files"},
		"no files":    {with(func(m *manifest) { m.Files = nil }), "0 files"},
		"no start":    {with(func(m *manifest) { m.Files = []release.File{{Name: release.Kernel, Size: 1}} }), "is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := parseManifest(c.data)
			if c.want == "" {
				if err != nil || m.Version != "1" {
					t.Errorf("parseManifest(%s) = %+v, %v", c.data, m, err)
				}
				return
			}
			if !errors.Is(err, ErrManifest) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("parseManifest(%.300s): %v, want an ErrManifest with %q", c.data, err, c.want)
			}
		})
	}
}
