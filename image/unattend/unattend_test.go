package unattend_test

import (
	"encoding/xml"
	"errors"
	"slices"
	"strings"
	"testing"

	"troy/image/unattend"
	"troy/internal/utf16le"
)

// TestMake: what is made is XML that says what was answered, and holds no secret.
func TestMake(t *testing.T) {
	for _, c := range []struct {
		name  string
		a     unattend.Answers
		holds []string
		lacks []string
	}{
		{"nothing", unattend.Answers{}, []string{"PreventDeviceEncryption", "<ComputerName>*<"}, []string{"oobeSystem", "TimeZone", "AccountData"}},
		{"all", unattend.Answers{Language: "de-DE", Keyboard: "0407:00000407", TimeZone: "W. Europe Standard Time", Audit: true},
			[]string{"<UILanguage>de-DE<", "<InputLocale>0407:00000407<", "<TimeZone>W. Europe Standard Time<", "<Mode>Audit<"}, nil},
		{"join", unattend.Answers{Join: true}, []string{"<AccountData></AccountData>", "<ComputerName>*<"}, []string{"TimeZone"}},
		{"keyboard of the language", unattend.Answers{Language: "fr-CH"}, []string{"<InputLocale>fr-CH<"}, []string{"Reseal"}},
	} {
		b, err := unattend.Make(&c.a)
		if err != nil {
			t.Fatal(err)
		}
		var root struct{ XMLName xml.Name }
		if err := xml.Unmarshal(b, &root); err != nil || root.XMLName.Local != "unattend" {
			t.Errorf("%s: %v %v", c.name, root, err)
		}
		for _, s := range c.holds {
			if !strings.Contains(string(b), s) {
				t.Errorf("%s lacks %s:\n%s", c.name, s, b)
			}
		}
		for _, s := range c.lacks {
			if strings.Contains(string(b), s) {
				t.Errorf("%s holds %s", c.name, s)
			}
		}
		if list, err := unattend.Secrets(b); err != nil || len(list) > 0 {
			t.Errorf("%s: secrets %q, %v", c.name, list, err)
		}
	}
	for _, a := range []unattend.Answers{{Language: "Deutsch!"}, {Language: "<x/>"}, {Keyboard: "qwertz keyboard"}, {TimeZone: "Berlin & Bonn"}} {
		if b, err := unattend.Make(&a); !errors.Is(err, unattend.ErrAnswer) {
			t.Errorf("%+v: %v\n%s", a, err, b)
		}
	}
}

// TestSecrets knows a filled secret from an empty or padded one, in each encoding.
func TestSecrets(t *testing.T) {
	for _, c := range []struct {
		name, inner string
		want        []string
	}{
		{"none", `<TimeZone>UTC</TimeZone>`, nil},
		{"empty", `<AutoLogon><Password><Value/><PlainText>true</PlainText></Password></AutoLogon>`, nil},
		{"padded", "<Identification><AccountData>   \n\t </AccountData></Identification>", nil},
		{"deleted", `<AdministratorPassword>*SENSITIVE*DATA*DELETED*</AdministratorPassword>`, nil},
		{"administrator", `<UserAccounts><AdministratorPassword><Value>x</Value><PlainText>true</PlainText></AdministratorPassword></UserAccounts>`,
			[]string{"AdministratorPassword/Value"}},
		{"local account", `<LocalAccount><Password>UABhAHMAcwA=</Password></LocalAccount>`, []string{"LocalAccount/Password"}},
		{"key", `<UserData><ProductKey><Key>AAAAA-BBBBB</Key><WillShowUI>OnError</WillShowUI></ProductKey></UserData>`, []string{"ProductKey/Key"}},
		{"key that is asked for", `<UserData><ProductKey><WillShowUI>OnError</WillShowUI></ProductKey></UserData>`, nil},
		{"key of specialize", `<ProductKey>AAAAA-BBBBB</ProductKey>`, []string{"unattend/ProductKey"}},
		{"domain join", `<OfflineJoin><AccountData>AAECAw==</AccountData></OfflineJoin>`, []string{"OfflineJoin/AccountData"}},
		{"machine", `<Identification><MachinePassword>p</MachinePassword></Identification>`, []string{"Identification/MachinePassword"}},
		{"other case", `<credentials><password>p</password></credentials>`, []string{"credentials/password"}},
		{"CDATA", `<Credentials><Password><![CDATA[p]]></Password></Credentials>`, []string{"Credentials/Password"}},
		{"between elements", `<Credentials><Password> <Value> </Value>p</Password></Credentials>`, []string{"Credentials/Password"}},
		{"prefixed", `<u:Password xmlns:u="urn:schemas-microsoft-com:unattend">p</u:Password>`, []string{"unattend/Password"}},
		{"attribute", `<Credentials Password="p"/>`, []string{"Credentials/Password"}},
	} {
		text := `<?xml version="1.0" encoding="%"?><unattend>` + c.inner + `</unattend>`
		for encoding, b := range map[string][]byte{
			"utf-8":        []byte(strings.ReplaceAll(text, "%", "utf-8")),
			"windows-1252": []byte(strings.ReplaceAll(text, "%", "windows-1252") + "<!-- \xfc -->"),
			"utf-16":       utf16le.Append([]byte{0xff, 0xfe}, strings.ReplaceAll(text, "%", "utf-16")),
		} {
			if got, err := unattend.Secrets(b); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s, %s: %q, %v, want %q", c.name, encoding, got, err, c.want)
			}
		}
	}
	for _, bad := range []string{"", "ProductKey=AAAAA-BBBBB", "<unattend><Password>p", "\x00\x01"} {
		if got, err := unattend.Secrets([]byte(bad)); err == nil {
			t.Errorf("%q: %q, want an error", bad, got)
		}
	}
}

// TestPadded: spaces are put behind what Troy can fill, and behind nothing else.
func TestPadded(t *testing.T) {
	utf16 := utf16le.Append([]byte{0xff, 0xfe}, "<unattend/>")
	for _, b := range [][]byte{utf16, utf16le.Append(nil, "<unattend/>"), []byte("<unattend>\xfc</unattend>")} {
		if got := unattend.Padded(b); string(got) != string(b) {
			t.Errorf("%q became %q", b, got)
		}
	}
	text := "<unattend>\u00fc</unattend>\n"
	got := string(unattend.Padded([]byte(text)))
	if after, ok := strings.CutPrefix(got, text); !ok || len(after) != unattend.Room || strings.Trim(after, " ") != "" {
		t.Errorf("padded: %.60q of %d bytes", got, len(got))
	}
	if err := xml.Unmarshal([]byte(got), new(struct{})); err != nil {
		t.Error(err)
	}
}
