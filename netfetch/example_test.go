package netfetch_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"troy/netfetch"
)

// A machine brings its network up and reads from two mirrors, the nearer first.
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
	var sources []netfetch.Source
	var https []*netfetch.HTTP
	for _, server := range params.Servers {
		h, err := netfetch.NewHTTP(server, &netfetch.HTTPOptions{GiveUpAfter: 15 * time.Second})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
		sources, https = append(sources, h), append(https, h)
	}
	go link.Keep(ctx, &netfetch.KeepOptions{Changed: func(*netfetch.Link) {
		for _, h := range https {
			h.Reconnect()
		}
	}})
	mirrors, err := netfetch.NewMirrors(nil, sources...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	src := netfetch.NewLimiter(20 << 20).Wrap(mirrors) // 20 MiB/s
	data, err := src.ReadRange(ctx, "repo/objects/ab/ab12.pack", 4096, 1<<20)
	fmt.Println(len(data), err)
}
