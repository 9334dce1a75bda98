package params_test

import (
	"fmt"

	"troy/netfetch/params"
)

// The media say which server to use; the kernel command line adds an address, and has a typing
// error.
func ExampleParse() {
	media := "# room B204\ntroy.server=192.0.2.1:8080\n"
	cmdline := "quiet troy.ip=192.0.2.10/24,gw=192.0.2.1 troy.port=eth/0"
	net, err := params.Parse(media, cmdline)
	fmt.Println(net.Servers, net.Static.Addr, net.Static.Gateway, net.Ports)
	fmt.Println(err)
	// Output:
	// [https://192.0.2.1:8080] 192.0.2.10/24 192.0.2.1 []
	// kernel parameter not understood: "troy.port=eth/0": "eth/0": want the name of a port, a MAC address or a pattern such as en*, igc or 52:54:00:*
}
