package link

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"troy/internal/testing/netlab"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// rude is a DHCP server made by hand in the switch's namespace.
type rude struct {
	answers func(q *dhcpv4.DHCPv4, raw []byte) [][]byte
	asked   []*dhcpv4.DHCPv4
	conn    *net.UDPConn
	ended   chan struct{}
}

// rudely starts one on the bridge.
func (l *lab) rudely(answers func(q *dhcpv4.DHCPv4, raw []byte) [][]byte) *rude {
	l.t.Helper()
	s := &rude{answers: answers, ended: make(chan struct{})}
	err := netlab.Do(l.Switch, func() error {
		lc := net.ListenConfig{Control: bindToPort("br0")}
		conn, err := lc.ListenPacket(l.t.Context(), "udp4", ":67")
		if err == nil {
			s.conn = conn.(*net.UDPConn)
		}
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	go s.serve()
	return s
}

func (s *rude) serve() {
	defer close(s.ended)
	b := make([]byte, 2048)
	for {
		n, _, err := s.conn.ReadFrom(b)
		if err != nil {
			return
		}
		q, err := dhcpv4.FromBytes(b[:n])
		if err != nil {
			continue
		}
		s.asked = append(s.asked, q)
		for _, answer := range s.answers(q, b[:n]) {
			s.conn.WriteTo(answer, &net.UDPAddr{IP: net.IPv4bcast, Port: 68})
		}
	}
}

// stop ends the server and returns what it was asked.
func (s *rude) stop() []*dhcpv4.DHCPv4 {
	s.conn.Close()
	<-s.ended
	return s.asked
}

// alike answers DISCOVER and REQUEST with the same options but for the type.
func alike(parts ...[]byte) func(q *dhcpv4.DHCPv4, raw []byte) [][]byte {
	return func(q *dhcpv4.DHCPv4, raw []byte) [][]byte {
		kind := map[dhcpv4.MessageType]byte{dhcpv4.MessageTypeDiscover: 2, dhcpv4.MessageTypeRequest: 5}[q.MessageType()]
		if kind == 0 {
			return nil
		}
		return [][]byte{slices.Concat(append([][]byte{header(raw), typed(kind)}, parts...)...)}
	}
}

// TestUpWithRudeServers takes what can be taken of answers that break the rules, and says what came
// where nothing can.
func TestUpWithRudeServers(t *testing.T) {
	const noAnswer = "no DHCP answer"
	other := []byte{54, 4, 10, 77, 0, 2}
	named := append([]byte{224, 9}, "10.77.0.1"...)
	as := func(b []byte, last byte) []byte { b[19] = last; return b }
	tests := []struct {
		name    string
		answers func(q *dhcpv4.DHCPv4, raw []byte) [][]byte
		addr    string // "" = none is taken
		says    string // of the link's oddities, or in the error
	}{
		{"without option 54", alike(maskOf24, endOption), "10.77.0.120/24", "does not say whose it is (option 54)"},
		{"without an end", alike(fromSwitch, maskOf24), "10.77.0.120/24", "no end option"},
		{"with a broken last option", alike(fromSwitch, maskOf24, []byte{15, 40, 'x'}), "10.77.0.120/24", "option 15 is cut off after 1 of 40 bytes"},
		{"with mask and MTU of nonsense", alike(fromSwitch, []byte{1, 4, 255, 0, 255, 0, 26, 2, 0, 1}, endOption), "10.77.0.120/8", "an MTU of 1"},
		{"without a machine", func(q *dhcpv4.DHCPv4, raw []byte) [][]byte {
			all := alike(fromSwitch, maskOf24, endOption)(q, raw)
			for _, b := range all {
				clear(b[28:34])
			}
			return all
		}, "10.77.0.120/24", "names no machine"},
		{"with all in file", func(q *dhcpv4.DHCPv4, raw []byte) [][]byte {
			all := alike([]byte{52, 1, 1}, endOption)(q, raw)
			for _, b := range all {
				copy(b[fileAt:], slices.Concat(fromSwitch, maskOf24, endOption))
			}
			return all
		}, "10.77.0.120/24", ""},
		{"beside one that names the Troy server", func(q *dhcpv4.DHCPv4, raw []byte) [][]byte {
			if q.MessageType() != dhcpv4.MessageTypeDiscover {
				return [][]byte{as(slices.Concat(header(raw), typed(5), other, maskOf24, endOption), q.RequestedIPAddress().To4()[3])}
			}
			return [][]byte{
				slices.Concat(header(raw), typed(2), fromSwitch, maskOf24, endOption),
				as(slices.Concat(header(raw), typed(2), other, maskOf24, named, endOption), 121),
			}
		}, "10.77.0.121/24", ""},
		{"beside one that refuses what it was not asked", func(q *dhcpv4.DHCPv4, raw []byte) [][]byte {
			if q.MessageType() == dhcpv4.MessageTypeDiscover {
				return alike(fromSwitch, maskOf24, endOption)(q, raw)
			}
			return append([][]byte{
				slices.Concat(header(raw), typed(6), other, endOption),
				as(slices.Concat(header(raw), typed(5), other, maskOf24, endOption), 99),
			}, alike(fromSwitch, maskOf24, endOption)(q, raw)...)
		}, "10.77.0.120/24", ""},
		{"that give no address", func(q *dhcpv4.DHCPv4, raw []byte) [][]byte {
			return [][]byte{as(slices.Concat(header(raw)[:16], make([]byte, 4), header(raw)[20:], typed(2), fromSwitch, endOption), 0)}
		}, "", "from 10.77.0.1: it gives no address (proxyDHCP)"},
		{"that answer somebody else", func(q *dhcpv4.DHCPv4, raw []byte) [][]byte {
			b := alike(fromSwitch, maskOf24, endOption)(q, raw)[0]
			b[33] ^= 1
			return [][]byte{b}
		}, "", "it is for another machine"},
		{"of BOOTP", func(q *dhcpv4.DHCPv4, raw []byte) [][]byte { return [][]byte{append(header(raw), 255)} }, "", "no message type (option 53)"},
	}
	l := newLab(t)
	l.Cable(0, true)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := l.rudely(test.answers)
			job := childJob{Wait: 20 * time.Second}
			if test.addr == "" {
				job.Until = "none of them of use"
			}
			r := l.run(job)
			asked := server.stop()
			said := r.Error + strings.Join(r.Link.Odd, "\n")
			if got := fmt.Sprint(r.Link.Addr); test.addr != "" && got != test.addr || (r.Error == "") != (test.addr != "") {
				t.Errorf("address %v, error %q, want %q", got, r.Error, test.addr)
			}
			if !strings.Contains(said, test.says) || strings.Contains(said, noAnswer) {
				t.Errorf("it says %q, want %q", said, test.says)
			}
			if last := asked[len(asked)-1]; test.addr != "" && (last.MessageType() != dhcpv4.MessageTypeRequest || last.ServerIdentifier() == nil) {
				t.Errorf("the request does not say whose offer is taken: %v", last.Summary())
			}
			l.In(l.PC, "ip", "addr", "flush", "dev", "eth0")
		})
	}
}
