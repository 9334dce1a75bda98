package doctor

import (
	"encoding/hex"
	"net"
	"slices"
	"strings"
	"testing"
)

// TestAddresses compares what the kernel says about this machine with what package net says.
func TestAddresses(t *testing.T) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			want = append(want, n.String())
		}
	}
	here, err := addresses()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range here {
		got = append(got, a.String())
		if a.IP.IsLoopback() && a.leased {
			t.Errorf("%s is not a lease", a.String())
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestJudgeAddresses(t *testing.T) {
	// Messages as Linux sends them: length, RTM_NEWADDR, …, family, prefix length, flags, …,
	// attributes.
	const (
		loopback  = "2c000000 1400 0200 01000000 00000000  02 08 80 fe 01000000  0800 0100 7f000001  0800 0200 7f000001  0400 0300"
		permanent = "28000000 1400 0200 01000000 00000000  02 18 80 00 02000000  0800 0100 0a4d0001  0800 0200 0a4d0001"
		leased    = "28000000 1400 0200 01000000 00000000  02 10 00 00 03000000  0800 0100 0a4e0007  0800 0200 0a4e0007"
		tunnel    = "28000000 1400 0200 01000000 00000000  02 20 80 00 04000000  0800 0100 0a000009  0800 0200 0a4f0001"
		version6  = "2c000000 1400 0200 01000000 00000000  0a 40 80 00 02000000  1400 0100 20010db8 00000000 00000000 00000001"
	)
	tests := []struct {
		name  string
		table []string
		want  []string
		level []Level
	}{
		{"nothing", nil, []string{"this machine has no address that others can reach"}, []Level{Fault}},
		{"loopback alone", []string{loopback}, []string{"this machine has no address that others can reach"}, []Level{Fault}},
		{"no IPv6", []string{version6}, []string{"this machine has no address that others can reach"}, []Level{Fault}},
		{"fixed", []string{loopback, permanent}, []string{"10.77.0.1/24"}, []Level{Good}},
		{"leased", []string{permanent, leased}, []string{"10.77.0.1/24", "10.78.0.7/16 is a DHCP lease"}, []Level{Good, Doubt}},
		{"this end of a tunnel", []string{tunnel}, []string{"10.79.0.1/32"}, []Level{Good}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table, err := hex.DecodeString(strings.ReplaceAll(strings.Join(test.table, ""), " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			all, err := parseAddresses(table)
			if err != nil {
				t.Fatal(err)
			}
			var text []string
			var level []Level
			for _, f := range judgeAddresses(all) {
				text, level = append(text, f.Text), append(level, f.Level)
			}
			if !slices.Equal(text, test.want) || !slices.Equal(level, test.level) {
				t.Errorf("got %q %v, want %q %v", text, level, test.want, test.level)
			}
		})
	}
	if _, err := parseAddresses([]byte("not a message of the kernel")); err == nil {
		t.Error("an answer that is none is accepted")
	}
}
