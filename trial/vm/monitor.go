package vm

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
)

// MonitorArgs are the arguments by which QEMU has a monitor on a Unix socket, whose path may have 107
// bytes.
func MonitorArgs(socket string) []string {
	return []string{"-qmp", "unix:" + Escape(socket) + ",server=on,wait=off"}
}

// Quote makes a text one word of a line for [Monitor].
func Quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`).Replace(s) + `"`
}

// Monitor has QEMU's monitor do what line says, as people type it. The VM has to be started with
// [MonitorArgs] among its arguments.
func Monitor(ctx context.Context, socket, line string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	type command map[string]any
	for _, c := range []command{
		{"execute": "qmp_capabilities"},
		{"execute": "human-monitor-command", "arguments": map[string]string{"command-line": line}},
	} {
		if err := out.Encode(c); err != nil {
			return err
		}
		said, err := answer(in)
		if err == nil && said != "" {
			err = errors.New(said)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// answer reads up to the result of a command, past greeting and events, and returns its text.
func answer(in *json.Decoder) (string, error) {
	for {
		var m struct {
			Return *json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		if err := in.Decode(&m); err != nil {
			return "", err
		}
		if m.Error != nil {
			return m.Error.Desc, nil
		}
		if m.Return != nil {
			var text string
			_ = json.Unmarshal(*m.Return, &text) // most commands return an object, which says nothing
			return text, nil
		}
	}
}
