package lab

import (
	"fmt"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(Schema())))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("lab.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("lab.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSchema: a program that we did not write judges as Parse does, where one member alone decides.
func TestSchema(t *testing.T) {
	s := compile(t)
	valid := func(text string) error {
		b, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		return s.Validate(v)
	}
	for _, text := range []string{good, ownLab} {
		if err := valid(text); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range [][2]string{
		{"  wave: 10", "  wafe: 10"}, {"  wave: 10", "  wave: ten"}, {"  wave: 10", "  wave: 0"}, {"  wave: 10", `  wave: "10"`},
		{"zone: Europe/Berlin\n", ""}, {"format: 1", "format: 2"}, {`from: "22:00"`, `from: "25:00"`}, {"[mon, tue]", "[mon, tuesday]"},
		{"2026-12-24", "2026-12-32"}, {" to 2027-01-03", " to"}, {" to 2027-01-03", ".. 2027-01-03"}, {"52-54-00-12-34-AB", "52-54-00-12-34"}, {"always: true", "always: 1"}, {"500.5", "-1"},
		{"10.2.4.255", "fe80::1"}, {"http://10.1", "ftp://10.1"}, {"  B204:", "  B 204:"}, {"merge: lazy", "merge: soon"}, {"name: b204-01, ", ""},
		{"allow: true", "allowed: true"}, {"healthy: 50", "healthy: 101"}, {"slot_gib: 20", "slot_gib: 2.5"},
		{"Änne, 4711", strings.Repeat("ä", 81)}, {"Änne, 4711", ""}, {"reset: key", "reset: r"},
		{"identity: required", "identity: yes"}, {"lab{room}-", "lab{seat}-"}, {"lab{room}-", "lab_"}, {"{disable-password-change: 1}", "{password: 1}"},
		{"{disable-password-change: 1}", "{disable-password-change: -1}"}, {"{disable-password-change: 1}", "{disable-password-change: 4294967296}"},
		{owner, "specialize/Owner"}, {owner, "windowsPE/a/b"}, {"printer: hp-b204", "printer: 7"}, {"printer: hp-b204", "printer: "}, {"keys/{host}", "keys/{hots}"},
	} {
		t.Run(fmt.Sprintf("%q to %q", c[0], c[1]), func(t *testing.T) {
			base := good
			if !strings.Contains(good, c[0]) {
				base = ownLab
			}
			text := strings.Replace(base, c[0], c[1], 1)
			_, err := Parse("f", []byte(text))
			if text == base || err == nil || valid(text) == nil {
				t.Errorf("%q → %q: Parse %v, schema %v", c[0], c[1], err, valid(text))
			}
		})
	}
}
