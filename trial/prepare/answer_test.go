package prepare

import (
	"encoding/xml"
	"errors"
	"strings"
	"testing"

	"troy/image/unattend"
)

// answers is what is looked at of an answer file.
type answers struct {
	XMLName  xml.Name
	Settings []struct {
		Pass      string `xml:"pass,attr"`
		Component []struct {
			Name         string `xml:"name,attr"`
			Architecture string `xml:"processorArchitecture,attr"`
			ComputerName string
			TimeZone     string
			UILanguage   string
			Commands     []string `xml:"RunSynchronous>RunSynchronousCommand>Path"`
			Orders       []int    `xml:"RunSynchronous>RunSynchronousCommand>Order"`
			Account      []struct {
				Name, Group string
				Password    struct{ Value *string }
			} `xml:"UserAccounts>LocalAccounts>LocalAccount"`
			AutoLogon struct {
				Enabled    bool
				Username   string
				LogonCount int
				Password   struct{ Value *string }
			}
			First []string `xml:"FirstLogonCommands>SynchronousCommand>CommandLine"`
		} `xml:"component"`
	} `xml:"settings"`
}

// The file is XML with what setup needs, in the passes of an applied image, and holds no secret.
func TestAnswer(t *testing.T) {
	for lang, want := range map[string]string{"": "en-US", "de-DE": "de-DE", "sr-Latn-RS": "sr-Latn-RS"} {
		b, err := Answer(lang)
		if err != nil {
			t.Fatal(err)
		}
		if list, err := unattend.Secrets(b); err != nil || len(list) > 0 {
			t.Errorf("secrets: %q, %v", list, err)
		}
		var a answers
		if err := xml.Unmarshal(b, &a); err != nil {
			t.Fatal(err)
		}
		if len(a.Settings) != 2 || a.Settings[0].Pass != "specialize" || a.Settings[1].Pass != "oobeSystem" {
			t.Fatalf("%+v", a)
		}
		before, shell, region, oobe := a.Settings[0].Component[0], a.Settings[0].Component[1], a.Settings[1].Component[0], a.Settings[1].Component[1]
		if shell.ComputerName != ComputerName || len(ComputerName) > 15 || shell.TimeZone != "UTC" || region.UILanguage != want {
			t.Errorf("%+v %+v", shell, region)
		}
		if len(before.Commands) != 4 || !strings.Contains(before.Commands[2], `"SYSTEM\CurrentControlSet\Control\Session Manager\Power"`) {
			t.Errorf("%q", before.Commands)
		}
		for i, order := range before.Orders {
			if order != i+1 {
				t.Errorf("the commands have the numbers %d", before.Orders)
			}
		}
		if len(oobe.Account) != 1 || oobe.Account[0].Name != Account || oobe.Account[0].Group != "Administrators" || oobe.AutoLogon.Username != Account ||
			!oobe.AutoLogon.Enabled || oobe.AutoLogon.LogonCount != 1 {
			t.Errorf("%+v", oobe)
		}
		for _, password := range []*string{oobe.Account[0].Password.Value, oobe.AutoLogon.Password.Value} {
			if password == nil || *password != "" {
				t.Errorf("the password is not empty, but %v", password)
			}
		}
		if len(oobe.First) != 1 || !strings.HasSuffix(oobe.First[0], `X Y Z) do if exist %i:\UP.CMD call %i:\UP.CMD`) || len(oobe.First[0]) > 1024 {
			t.Errorf("%q", oobe.First)
		}
	}
	for _, bad := range []string{"english", "<x/>", "de_DE", "de-DE\n"} {
		if b, err := Answer(bad); !errors.Is(err, unattend.ErrAnswer) {
			t.Errorf("%q: %v\n%s", bad, err, b)
		}
	}
}
