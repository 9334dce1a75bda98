package limit_test

import (
	"fmt"
	"net/netip"
	"time"

	"troy/server/limit"
)

// Three logins at once, then one every ten seconds.
func ExampleLimiter() {
	logins := limit.New(0.1, 3)
	address, now := netip.MustParseAddr("192.0.2.7"), time.Now()
	for range 5 {
		fmt.Println(logins.Take(address, now))
	}
	// Output:
	// 0s
	// 0s
	// 0s
	// 10s
	// 10s
}
