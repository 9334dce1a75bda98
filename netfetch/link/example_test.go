package link_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"troy/netfetch"
	"troy/netfetch/link"
	"troy/netfetch/params"
)

// A machine brings its network up and reads from the servers that the kernel command line names, then
// from the one that DHCP names.
func Example() {
	ctx := context.Background()
	net, err := params.Parse("troy.server=http://192.0.2.1:8080,https://mirror.example")
	if err != nil {
		fmt.Fprintln(os.Stderr, err) // a wrong word; the others hold
	}
	l, err := link.Up(ctx, &link.Options{
		Static: net.Static, Interfaces: net.Interfaces, ResolvConf: "/etc/resolv.conf",
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	mirrors, err := netfetch.NewHTTPMirrors(append(net.Servers, l.Server), &netfetch.HTTPOptions{GiveUpAfter: 45 * time.Second}, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	go l.Keep(ctx, &link.KeepOptions{Changed: func(*link.Link) { mirrors.Reconnect() }})
	src := netfetch.NewLimiter(20 << 20).Wrap(mirrors) // 20 MiB/s
	data, err := src.ReadRange(ctx, "repo/objects/ab/ab12.pack", 4096, 1<<20)
	fmt.Println(len(data), err)
}
