package netfetch_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"troy/netfetch"
)

// A machine brings its network up and reads from the servers that the kernel command line names, then from that of DHCP.
func Example() {
	ctx := context.Background()
	params, err := netfetch.ParseParams("troy.server=http://192.0.2.1:8080,https://mirror.example")
	if err != nil {
		fmt.Fprintln(os.Stderr, err) // a wrong word; the others hold
	}
	link, err := netfetch.LinkUp(ctx, &netfetch.LinkOptions{
		Static: params.Static, Interfaces: params.Interfaces, ResolvConf: "/etc/resolv.conf",
		Notify: func(p netfetch.Port) { fmt.Println(p) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	mirrors, err := netfetch.NewHTTPMirrors(append(params.Servers, link.Server), &netfetch.HTTPOptions{GiveUpAfter: 45 * time.Second}, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	go link.Keep(ctx, &netfetch.KeepOptions{Changed: func(*netfetch.Link) { mirrors.Reconnect() }})
	src := netfetch.NewLimiter(20 << 20).Wrap(mirrors) // 20 MiB/s
	data, err := src.ReadRange(ctx, "repo/objects/ab/ab12.pack", 4096, 1<<20)
	fmt.Println(len(data), err)
}
