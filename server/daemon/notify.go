package daemon

import (
	"fmt"
	"net"

	"troy/internal/errline"
)

// notifyReady tells the service manager at that socket that all ports are open (sd_notify of
// systemd): until then "systemctl start" waits, and it fails if the server ends before. "" = no
// manager asks.
func notifyReady(socket string) error {
	if socket == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err == nil {
		_, err = c.Write([]byte("READY=1"))
		err = errline.Join(err, c.Close())
	}
	if err != nil {
		return fmt.Errorf("telling the service manager: %w", err)
	}
	return nil
}
