package main

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// notifyReady tells the service manager that started this process, if one did and asks for it, that all ports are open (sd_notify of systemd): until then
// "systemctl start" waits, and it fails if nothing comes of it.
func notifyReady() error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err == nil {
		_, err = c.Write([]byte("READY=1"))
		err = errors.Join(err, c.Close())
	}
	if err != nil {
		return fmt.Errorf("telling the service manager: %w", err)
	}
	return nil
}
