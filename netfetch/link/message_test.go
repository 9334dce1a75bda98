package link

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// header makes the first 240 bytes of an offer of 10.77.0.120 that answers a question.
func header(q []byte) []byte {
	b := make([]byte, optionsAt)
	b[0], b[1], b[2] = 2, 1, 6
	copy(b[4:8], q[4:8])
	copy(b[16:20], []byte{10, 77, 0, 120})
	copy(b[28:34], q[28:34])
	copy(b[cookieAt:], []byte{99, 130, 83, 99})
	return b
}

// What an answer holds: its type, the server, the mask.
func typed(kind byte) []byte { return []byte{53, 1, kind} }

var (
	fromSwitch = []byte{54, 4, 10, 77, 0, 1}
	maskOf24   = []byte{1, 4, 255, 255, 255, 0}
	endOption  = []byte{255}
)

func TestParse(t *testing.T) {
	question := append(make([]byte, 28), 2, 0, 0, 0, 0, 1)
	make := func(parts ...[]byte) []byte { return slices.Concat(append([][]byte{header(question)}, parts...)...) }
	overload := func(b []byte, file, sname []byte) []byte {
		copy(b[fileAt:cookieAt], file)
		copy(b[snameAt:fileAt], sname)
		return b
	}
	offer := typed(2)
	tests := []struct {
		name   string
		b      []byte
		refuse string // "" = it is taken
		odd    string // "" = nothing is
	}{
		{"a good one", make(offer, fromSwitch, maskOf24, endOption), "", ""},
		{"padding everywhere", make([]byte{0, 0}, offer, []byte{0}, fromSwitch, maskOf24, endOption, bytes.Repeat([]byte{0}, 300)), "", ""},
		{"rubbish behind the end", make(offer, fromSwitch, maskOf24, endOption, []byte{12, 200, 1}), "", ""},
		{"no end option", make(offer, fromSwitch, maskOf24), "", "no end option"},
		{"no options", make(), "no message type", "no end option"},
		{"the last option is cut off", make(offer, fromSwitch, maskOf24, []byte{12, 20, 'a', 'b'}), "", "option 12 is cut off after 2 of 20 bytes"},
		{"the last option has no length", make(offer, fromSwitch, maskOf24, []byte{12}), "", "option 12 has no length"},
		{"an option that matters is cut off", make(fromSwitch, maskOf24, []byte{53, 4, 2}), "no message type", "option 53 is cut off"},
		{"no option 54", make(offer, maskOf24, endOption), "", ""},
		{"options in file", overload(make(offer, []byte{52, 1, 1}, endOption), slices.Concat(fromSwitch, maskOf24, endOption), []byte("sname")), "", ""},
		{"options in sname", overload(make(offer, []byte{52, 1, 2}, endOption), []byte("file"), slices.Concat(fromSwitch, maskOf24, endOption)), "", ""},
		{"options in both", overload(make(offer, []byte{52, 1, 3}, endOption), slices.Concat(fromSwitch, endOption), slices.Concat(maskOf24, endOption)), "", ""},
		{"the type is in file", overload(make([]byte{52, 1, 1}, endOption), slices.Concat(offer, fromSwitch, maskOf24, endOption), nil), "", ""},
		{"a broken option in file", overload(make(offer, []byte{52, 1, 3}, endOption), slices.Concat(fromSwitch, bytes.Repeat([]byte{0}, 120), []byte{1, 4}), maskOf24), "", "the field file: option 1 is cut off after 0 of 4 bytes"},
		{"an overload that is none", make(offer, fromSwitch, maskOf24, []byte{52, 1, 7}, endOption), "", "option 52 (overload) is 07"},
		{"an overload in two bytes", make(offer, fromSwitch, maskOf24, []byte{52, 2, 0, 1}, endOption), "", "option 52 (overload) is 0001"},
		{"a type of two bytes", make([]byte{53, 2, 2, 5}, fromSwitch, endOption), "no message type", "option 53"},
		{"a type that is given twice", make(offer, offer, fromSwitch, maskOf24, endOption), "", ""},
		{"another machine", func() []byte { b := make(offer, fromSwitch, endOption); b[33]++; return b }(), "for another machine, 02:00:00:00:00:02", ""},
		{"no machine", func() []byte { b := make(offer, fromSwitch, endOption); clear(b[28:34]); return b }(), "", "names no machine"},
		{"a hardware address of no length", func() []byte { b := make(offer, fromSwitch, endOption); b[2] = 0; return b }(), "", ""},
		{"a hardware address of 16 bytes", func() []byte { b := make(offer, fromSwitch, endOption); b[2] = 200; return b }(), "", ""},
		{"a question", func() []byte { b := make(offer, fromSwitch, endOption); b[0] = 1; return b }(), "no answer (operation 1)", ""},
		{"another transaction", func() []byte { b := make(offer, fromSwitch, endOption); b[4]++; return b }(), "another question", ""},
		{"an answer of BOOTP", func() []byte { b := make(endOption); clear(b[cookieAt:]); return b }(), "no DHCP message", ""},
		{"too short", header(question)[:200], "200 bytes are no DHCP message", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := &client{mac: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
			m, err := c.answer(packet{b: test.b, from: netip.MustParseAddr("10.77.0.9")}, dhcpv4.TransactionID{})
			if err == nil && m != nil {
				err = m.offers()
			}
			if (err == nil) != (test.refuse == "") || err != nil && !strings.Contains(err.Error(), test.refuse) {
				t.Fatalf("error %v, want %q", err, test.refuse)
			}
			if m == nil {
				return
			}
			if said := strings.Join(m.odd, "; "); !strings.Contains(said, test.odd) || (test.odd == "") != (said == "") {
				t.Errorf("odd: %q, want %q", said, test.odd)
			}
			if err != nil {
				return
			}
			server := "10.77.0.1"
			if strings.Contains(test.name, "no option 54") {
				server = "10.77.0.9" // who sent it
			}
			if m.server().String() != server || !strings.HasPrefix(m.YourIPAddr.String(), "10.77.0.120") {
				t.Errorf("%v from %v", m.YourIPAddr, m.server())
			}
		})
	}
}
