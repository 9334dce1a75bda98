package params

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"troy/netfetch"
)

func TestParse(t *testing.T) {
	addr, gw := netip.MustParsePrefix("192.0.2.10/24"), netip.MustParseAddr("192.0.2.1")
	tests := []struct {
		texts []string
		want  Network
	}{
		{nil, Network{}},
		{[]string{"quiet console=ttyS0 troy.shell ip=dhcp"}, Network{}},
		{[]string{"troy.ip=192.0.2.10/24"}, Network{Static: &Static{Addr: addr}}},
		{[]string{"a troy.ip=192.0.2.10/24,gw=192.0.2.1,dns=192.0.2.1,dns=192.0.2.2,port=eth1 b\n"},
			Network{Static: &Static{Addr: addr, Gateway: gw, Port: "eth1", DNS: []netip.Addr{gw, netip.MustParseAddr("192.0.2.2")}}}},
		{[]string{"troy.ip=192.0.2.10/24 troy.ip=dhcp"}, Network{}},
		{[]string{"troy.ip=192.0.2.10/31,gw=192.0.2.11"}, Network{Static: &Static{Addr: netip.MustParsePrefix("192.0.2.10/31"), Gateway: netip.MustParseAddr("192.0.2.11")}}},
		{[]string{"troy.port=eth0,enp3s0"}, Network{Ports: []Port{"eth0", "enp3s0"}}},
		{[]string{"troy.server=http://a:8080/x/,b,[2001:db8::1]:80,https://c"},
			Network{Servers: []string{"http://a:8080/x", "https://b", "https://[2001:db8::1]:80", "https://c"}}},
		{[]string{"# media\ntroy.server=a # old\ntroy.port=eth0\n", `x="a b troy.server=no" "troy.server=b"`},
			Network{Servers: []string{"https://b"}, Ports: []Port{"eth0"}}},
		{[]string{`"troy.server= http://a/, b:8080 " "troy.port=eth0, eth1"`, "\r\n\x00"},
			Network{Servers: []string{"http://a", "https://b:8080"}, Ports: []Port{"eth0", "eth1"}}},
		{[]string{`troy.ip=" 192.0.2.10/24, gw=192.0.2.1 , port=eth1"`},
			Network{Static: &Static{Addr: addr, Gateway: gw, Port: "eth1"}}},
		{[]string{"\ufefftroy.server=a\u00a0\n"}, Network{Servers: []string{"https://a"}}}, // as some editors save a file
		{[]string{"troy.link-patience=120 BOOTIF=01-52-54-00-12-34-5A"}, Network{Patience: 2 * time.Minute, First: net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x5a}}},
		{[]string{"BOOTIF=01-52:54:00:12:34:5a BOOTIF=01- bootif=x"}, Network{First: net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x5a}}},
		{[]string{"troy.server=a#b"}, Network{}}, // no comment inside a word; a fragment has no place in a URL
	}
	for _, test := range tests {
		got, err := Parse(test.texts...)
		if !reflect.DeepEqual(got, test.want) || (err != nil) != strings.Contains(strings.Join(test.texts, ""), "a#b") {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", test.texts, got, err, test.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for word, text := range map[string]string{
		"troy.ip=":                            "want dhcp or ADDRESS/LENGTH",
		"troy.ip=192.0.2.10":                  "want dhcp or ADDRESS/LENGTH",
		"troy.ip=192.0.2.10/33":               "want dhcp or ADDRESS/LENGTH",
		"troy.ip=2001:db8::1/64":              "no IPv4 address",
		"troy.ip=192.0.2.10/0":                "no IPv4 address",
		"troy.ip=127.0.0.1/8":                 "no IPv4 address",
		"troy.ip=224.0.0.1/8":                 "no IPv4 address",
		"troy.ip=192.0.2.0/24":                "network itself",
		"troy.ip=192.0.2.255/24":              "broadcast",
		"troy.ip=192.0.2.63/26":               "broadcast",
		"troy.ip=192.0.2.10/24,":              "want gw=",
		"troy.ip=192.0.2.10/24,gw=x":          "want gw=",
		"troy.ip=192.0.2.10/24,gw=0.0.0.0":    "want gw=",
		"troy.ip=192.0.2.10/24,gw=192.0.2.10": "the address itself",
		"troy.ip=192.0.2.10/24,ntp=192.0.2.1": "want gw=",
		"troy.ip=192.0.2.10/24,port=":         "want the name of a port",
		"troy.port=":                          "want the name of a port",
		"troy.port=eth0,../../x":              "want the name of a port",
		"troy.port=abcdefghijklmnop":          "want the name of a port",
		"troy.port=eth[":                      "want the name of a port",
		"troy.port=52:54:00:12:34":            "want the name of a port",
		"troy.link-patience=":                 "want whole seconds",
		"troy.link-patience=0":                "want whole seconds",
		"troy.link-patience=1m":               "want whole seconds",
		"troy.link-patience=99999999999":      "want whole seconds",
		"troy.server=":                        "want http://",
		"troy.server=ftp://x":                 "want http://",
		"troy.server=http://u:p@x":            "want http://",
		"troy.server=a,,b":                    "want http://",
	} {
		p, err := Parse(word + " troy.port=eth7")
		if !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), word) {
			t.Errorf("Parse(%q) error = %v, want %q", word, err, text)
		}
		if len(p.Ports) != 1 || p.Ports[0] != "eth7" {
			t.Errorf("Parse(%q) lost the word after: %+v", word, p)
		}
	}
}

func TestPort(t *testing.T) {
	mac := net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x5a}
	for text, want := range map[string]bool{
		"52:54:00:12:34:5A": true, "52-54-00-12-34-5a": true, "5254.0012.345a": true, "525400-12345A": true, "52540012345a": true,
		"01-52-54-00-12-34-5a": true, "01:52:54:00:12:34:5a": true, "52:54:00:12:34:5b": false, "02-52-54-00-12-34-5a": false,
		"enp3s0": true, "enp3s": false, "ENP3S0": false, "en*": true, "enp[0-9]s?": true, "eth*": false,
		"igc": true, "ig?": true, "r81*": false, "52:54:00:*": true, "*:5A": true, "00:*": false,
	} {
		t.Run(text, func(t *testing.T) {
			n, err := Parse("troy.port=eth9," + text)
			if text == "02-52-54-00-12-34-5a" { // seven bytes: neither a MAC address nor a name
				if err == nil {
					t.Error("taken")
				}
				return
			}
			if err != nil || len(n.Ports) != 2 {
				t.Fatal(n.Ports, err)
			}
			if got := n.Ports[1].Matches("enp3s0", "igc", mac); got != want {
				t.Errorf("%q matches: %v", n.Ports[1], got)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		p, _ := Parse(s)
		if p.Static != nil && CheckHost(p.Static.Addr) != nil {
			t.Errorf("Parse(%q) gives the address %v", s, p.Static.Addr)
		}
		for _, u := range p.Servers {
			if _, err := netfetch.NewHTTP(u, nil); err != nil {
				t.Errorf("Parse(%q) gives the server %q: %v", s, u, err)
			}
		}
	})
}
