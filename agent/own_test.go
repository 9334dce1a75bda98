package agent

import (
	"strings"
	"testing"

	"troy/image"
	"troy/image/fields"
	"troy/server/protocol"
)

// What a version has a place for is written, whatever else is lacking; a secret is left out where
// users could read it, and what lies beside it is written all the same.
func TestPlaced(t *testing.T) {
	const secret = "s3cr3t"
	order := &protocol.Order{Name: "pc-01", Room: "b204", Identity: &protocol.Identity{Name: "B204-17", Settings: []protocol.Setting{{Field: fields.Hiberboot}, {Field: fields.DisablePasswordChange, Number: 1}},
		Values: []protocol.Value{{Key: "key", Text: secret, Secret: true}, {Key: "printer", Text: "hp"}, {Key: accountSlot, Text: secret, Secret: true}, {Key: "no/such", Text: "x"}, {Key: ownerSlot, Text: "Lab"}}}}
	all := placesOf(0)
	open := placesOf(0)
	for i := range open {
		open[i].Private = false
	}
	has := func(list []image.Field, machine, account string, secretless bool, lacks ...string) {
		t.Helper()
		p := ownOf(order).placed(list)
		if string(p.values.Machine) != machine || p.values.Answers[accountSlot] != account || p.secretless != secretless {
			t.Errorf("%+v, secretless %v", p.values, p.secretless)
		}
		if len(p.lacks) != len(lacks) {
			t.Fatalf("it lacks %q, want %d things", p.lacks, len(lacks))
		}
		for i, text := range lacks {
			if !strings.Contains(p.lacks[i], text) || strings.Contains(p.lacks[i], secret) {
				t.Errorf("it lacks %q, want %q", p.lacks[i], text)
			}
		}
		if v := p.values; len(list) > 0 && (v.Name != "B204-17" || v.Settings[fields.DisablePasswordChange] != 1 || v.Answers[ownerSlot] != "Lab") {
			t.Errorf("%+v", v)
		}
	}
	const plain, whole = `{"host":"pc-01","name":"B204-17","room":"b204","values":{"printer":"hp"}}`, `{"host":"pc-01","name":"B204-17","room":"b204","values":{"key":"` + secret + `","printer":"hp"}}`
	has(all, whole, secret, false, "no field hiberboot-enabled", "no element no/such")
	has(open, plain, "", true, "no field hiberboot-enabled", "secrets of machine.json: machine-file takes no secret", "no element no/such", "answer-file takes no secret")
	has(nil, "", "", true, "no field computer-name", "no field disable-password-change", "no field hiberboot-enabled", "no field machine-file", "no field answer-file")
	order.Identity.Values = []protocol.Value{{Key: "note", Text: strings.Repeat("x", 4096)}, {Key: ownerSlot, Text: "Lab"}}
	has(all, "", "", false, "no field hiberboot-enabled", "machine-file needs 41")
	order.Identity = &protocol.Identity{Name: "B204-17"}
	if p := ownOf(order).placed(all[:4]); len(p.lacks) > 0 || p.values.Machine != nil {
		t.Errorf("without machine.json, which nothing needs: %q, %s", p.lacks, p.values.Machine)
	}
}
