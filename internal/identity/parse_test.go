package identity

import (
	"errors"
	"regexp"
	"testing"
)

func TestParseMAC(t *testing.T) {
	pattern := regexp.MustCompile(MACPattern)
	for _, s := range []string{"52:54:00:12:34:ab", "52-54-00-12-34-AB", "5254.0012.34aB", "5254:0012:34ab", "525400-1234ab", "525400:1234AB", "5254001234ab"} {
		t.Run(s, func(t *testing.T) {
			if mac, err := ParseMAC(s); err != nil || mac != "52:54:00:12:34:ab" || !pattern.MatchString(s) {
				t.Errorf("ParseMAC(%q) = %q, %v; the pattern takes it: %v", s, mac, err, pattern.MatchString(s))
			}
		})
	}
	for _, s := range []string{"", "52:54:00:12:34", "52:54:00:12:34:ab:cd", "52:54-00:12:34:ab", "5254.00.1234ab", "52:54:00:12:34:ag", "525400:12:34:ab",
		"00:00:00:00:00:00", "ff-ff-ff-ff-ff-ff", "01:00:5e:00:00:01", "52:54:00:12:34:ab ", "::::::", "5-2-5-4-0-0-1-2-3-4-a-b"} {
		t.Run("no "+s, func(t *testing.T) {
			if mac, err := ParseMAC(s); !errors.Is(err, ErrMAC) || mac != "" {
				t.Errorf("ParseMAC(%q) = %q, %v", s, mac, err)
			}
		})
	}
}

func TestParseUUID(t *testing.T) {
	const want = "4c4c4544-0042-3510-8052-b3c04f4b4e32"
	pattern := regexp.MustCompile(UUIDPattern)
	for _, s := range []string{want, "4C4C4544-0042-3510-8052-B3C04F4B4E32", "{4C4C4544-0042-3510-8052-B3C04F4B4E32}", "4c4c4544004235108052b3c04f4b4e32"} {
		t.Run(s, func(t *testing.T) {
			if id, err := ParseUUID(s); err != nil || id != want || !pattern.MatchString(s) {
				t.Errorf("ParseUUID(%q) = %q, %v; the pattern takes it: %v", s, id, err, pattern.MatchString(s))
			}
		})
	}
	for _, s := range []string{"", "{}", "{4C4C4544-0042-3510-8052-B3C04F4B4E32", "4C4C4544-0042-3510-8052-B3C04F4B4E3", "4C4C4544-0042-3510-8052-B3C04F4B4E3G", "Not Settable"} {
		t.Run("no "+s, func(t *testing.T) {
			if id, err := ParseUUID(s); !errors.Is(err, ErrUUID) || id != "" {
				t.Errorf("ParseUUID(%q) = %q, %v", s, id, err)
			}
		})
	}
}

// TestFold: one machine has one spelling, in both byte orders, and a placeholder has none.
func TestFold(t *testing.T) {
	for _, x := range []struct{ a, b string }{
		{"4c4c4544-0042-3510-8052-b3c04f4b4e32", "{44454C4C-4200-1035-8052-B3C04F4B4E32}"},
		{"5254.0012.34ab", "52-54-00-12-34-AB"},
	} {
		a, okA := Fold(x.a)
		if b, okB := Fold(x.b); a != b || !okA || !okB || a == "" {
			t.Errorf("Fold(%q) = %q, Fold(%q) = %q", x.a, a, x.b, b)
		}
	}
	for _, s := range []string{"", "pc-1", "00000000-0000-0000-0000-000000000000", "{FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF}", "fefefefe-fefe-fefe-fefe-fefefefefefe",
		"03000200-0400-0500-0006-000700080009", "00020003-0004-0005-0006-000700080009", "4C4C4544-0000-2010-8020-80C04F202020", "44454C4C-0000-1020-8020-80C04F202020"} {
		if f, ok := Fold(s); ok || f != "" {
			t.Errorf("Fold(%q) = %q", s, f)
		}
	}
	if _, ok := Fold("03d40274-0435-05dc-8506-010700080009"); !ok {
		t.Error("a UUID made of a MAC address is no placeholder")
	}
}

// FuzzFold: what is read has one spelling, which is read again.
func FuzzFold(f *testing.F) {
	for _, s := range []string{"52:54:00:12:34:ab", "5254.0012.34ab", "{4C4C4544-0042-3510-8052-B3C04F4B4E32}", "4c4c4544004235108052b3c04f4b4e32", "::", "{}", "-"} {
		f.Add(s)
	}
	mac, uuid := regexp.MustCompile(MACPattern), regexp.MustCompile(UUIDPattern)
	f.Fuzz(func(t *testing.T, s string) {
		folded, ok := Fold(s)
		if again, still := Fold(folded); ok && (!still || again != folded) {
			t.Errorf("Fold(%q) = %q, then %q", s, folded, again)
		}
		if ok && !mac.MatchString(s) && !uuid.MatchString(s) {
			t.Errorf("Fold takes %q, the schema's patterns do not", s)
		}
	})
}
