package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"troy/trial/inside"
	"troy/trial/vm"
)

// Addresses in the network of a virtual PC. QEMU's user network is 10.0.2.0/24 and has itself at .2
// and .3.
const (
	guestHost  = "10.0.2.100"
	serverPort = "8443" // of the trial's server
	tellPort   = "80"   // of the trial
	serverURL  = "https://" + guestHost + ":" + serverPort
	tellURL    = "http://" + guestHost + "/up"
)

// tells is where the program in Windows tells that it is up.
type tells struct {
	listener net.Listener
	server   *http.Server
	heard    func(*inside.Record)
}

// listen begins to listen on a port of 127.0.0.1.
func listen(heard func(*inside.Record)) (*tells, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &tells{listener: l, heard: heard}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /up", t.up)
	t.server = &http.Server{Handler: mux, ReadTimeout: time.Minute, WriteTimeout: time.Minute}
	go t.server.Serve(l) // ends with Close
	return t, nil
}

func (t *tells) up(w http.ResponseWriter, r *http.Request) {
	record := new(inside.Record)
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, inside.SlotSize))
	if err == nil {
		err = json.Unmarshal(b, record)
	}
	if err != nil {
		http.Error(w, "no record", http.StatusBadRequest)
		return
	}
	t.heard(record)
}

func (t *tells) close() error { return t.server.Close() }

// userNetwork is QEMU's user network of a virtual PC, in which two addresses lead to ports of
// 127.0.0.1 and, unless it is online, nothing leads anywhere else.
func userNetwork(relay []string, server, tell string, online bool) string {
	forward := func(port, to string) string {
		return fmt.Sprintf("guestfwd=tcp:%s:%s-cmd:%s", guestHost, port, command(append(relay[:len(relay):len(relay)], to)))
	}
	parts := []string{forward(serverPort, server), forward(tellPort, tell)}
	if !online {
		parts = append(parts, "restrict=on")
	}
	return strings.Join(parts, ",")
}

// command is a command line for QEMU, which takes it apart as a shell does, in a list of options.
func command(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return vm.Escape(strings.Join(quoted, " "))
}

// Relay joins a connection to an address of 127.0.0.1 with in and out: QEMU runs it for each
// connection of a virtual PC.
func Relay(ctx context.Context, address string, in io.Reader, out io.Writer) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil || net.ParseIP(host) == nil || !net.ParseIP(host).IsLoopback() {
		return fmt.Errorf("%q is no address of this machine alone", address)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, in)
		sent <- errors.Join(err, conn.(*net.TCPConn).CloseWrite())
	}()
	// The PC's side may still be open when the server has said all: nothing more is to come.
	if _, err = io.Copy(out, conn); err != nil {
		return err
	}
	select {
	case err = <-sent:
	default:
	}
	return err
}
