package link_test

import (
	"fmt"
	"net"
	"strings"
	"time"

	"troy/netfetch/link"
)

// What a technician reads on a PC whose cable is in the wrong socket.
func ExampleError() {
	err := &link.Error{Took: time.Minute, Ports: []link.Port{
		{Name: "eth0", MAC: net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}},
		{Name: "eth1", Driver: "igc", MAC: net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x57},
			Carrier: true, Took: 2 * time.Second, Requests: 14},
	}}
	for part := range strings.SplitSeq(err.Error(), "; ") { // all on one line
		fmt.Println(part)
	}
	// Output:
	// no wired port gave a useful address in 1m0s: eth0 (52:54:00:12:34:56): no carrier (cable?)
	// eth1 (igc, 52:54:00:12:34:57): carrier, no DHCP answer to 14 requests
}
