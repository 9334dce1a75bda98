// Command hello is the init of a virtual PC that says one line and powers off, or, with the kernel
// argument "silent", does neither: then the PC is one that hangs before it says anything.
package main

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"troy/internal/testing/guest/inside"
)

func main() {
	for slices.Contains(os.Args, "silent") {
		_ = unix.Pause() // comes back only for a signal
	}
	fmt.Println("HELLO: here I am")
	inside.PowerOff()
}
