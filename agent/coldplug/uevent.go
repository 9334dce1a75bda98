package coldplug

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"troy/internal/wait"
)

// uevents tells, until ctx ends, that devices may have come: at once where the kernel says so, else
// every second. What comes after it has returned is not missed; several devices may be told as one.
func uevents(ctx context.Context) <-chan struct{} {
	news := make(chan struct{}, 1)
	f, err := openUevents()
	if err != nil {
		go func() {
			for wait.For(ctx, time.Second) == nil {
				poke(news)
			}
		}()
		return news
	}
	context.AfterFunc(ctx, func() { f.Close() })
	go listen(f, news)
	return news
}

// openUevents opens the socket to which the kernel sends a message for each device.
func openUevents() (*os.File, error) {
	const fromKernel = 1 // the group of its own messages; udev has another one
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "uevents")
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: fromKernel}); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// listen passes on that devices come, until f is closed. Nothing but the first word of a message is
// read ("add@/devices/…"): what is there, a look at sysfs tells.
func listen(f *os.File, news chan<- struct{}) {
	const most = 8 << 10 // bytes of a message; the kernel's are at most 2 KiB and a path
	b := make([]byte, most)
	for {
		n, err := f.Read(b)
		switch {
		case errors.Is(err, unix.ENOBUFS): // more came than could be read
			poke(news)
		case err != nil:
			return
		case bytes.HasPrefix(b[:n], []byte("add@")):
			poke(news)
		}
	}
}

// poke does not wait: who has not taken the last news yet will see this one as well.
func poke(news chan<- struct{}) {
	select {
	case news <- struct{}{}:
	default:
	}
}
