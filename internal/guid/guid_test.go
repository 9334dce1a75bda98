package guid

import (
	"encoding/json"
	"fmt"
	"testing"
)

func TestParse(t *testing.T) {
	want := GUID{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}
	for _, s := range []string{"c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "{C12A7328-F81F-11D2-BA4B-00A0C93EC93B}"} {
		t.Run(s, func(t *testing.T) {
			g, err := Parse(s)
			if err != nil || g != want {
				t.Errorf("Parse(%q) = %x, %v, want %x", s, g, err, want)
			}
		})
	}
	if s := want.String(); s != "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" {
		t.Errorf("String() = %s", s)
	}
	for _, s := range []string{"", "{", "{}", "c12a7328f81f11d2ba4b00a0c93ec93b", "c12a7328-f81f-11d2-ba4b-00a0c93ec93", "g12a7328-f81f-11d2-ba4b-00a0c93ec93b"} {
		t.Run(fmt.Sprintf("%q", s), func(t *testing.T) {
			if g, err := Parse(s); err == nil || g != (GUID{}) {
				t.Errorf("Parse(%q) = %s, %v, want an error", s, g, err)
			}
		})
	}
}

func TestNew(t *testing.T) {
	a, b := New(), New()
	if a == b || a.IsZero() || a.String()[14] != '4' || !GUID.IsZero(GUID{}) {
		t.Errorf("New() = %s and %s", a, b)
	}
	text, err := json.Marshal(a)
	var back GUID
	if err := json.Unmarshal(text, &back); err != nil || back != a {
		t.Errorf("%s comes back as %s, %v", a, back, err)
	}
	if err != nil {
		t.Error(err)
	}
}
