package vmlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
)

// errPlug: QEMU did not plug a device in.
var errPlug = errors.New("QEMU did not plug the device in")

// Plug plugs a device in, named as after QEMU's -device.
func (v *VM) Plug(ctx context.Context, device string) error {
	if err := v.monitor(ctx, "device_add "+device); err != nil {
		return fmt.Errorf("%w: %w", errPlug, err)
	}
	return nil
}

// monitor has QEMU's monitor do what line says.
func (v *VM) monitor(ctx context.Context, line string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", v.socket)
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
