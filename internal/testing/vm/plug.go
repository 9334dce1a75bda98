package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
)

// errPlug: QEMU did not plug a device in.
var errPlug = errors.New("QEMU did not plug the device in")

// monitor is the socket on which QEMU takes commands.
func (c *Config) monitor() string { return filepath.Join(c.Dir, c.name()+".qmp") }

// Plug plugs a device into the running VM, named as after QEMU's -device. [Config].Plugs must be
// set.
func (v *VM) Plug(ctx context.Context, device string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", v.config.monitor())
	if err != nil {
		return fmt.Errorf("%w: %w", errPlug, err)
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
		{"execute": "human-monitor-command", "arguments": map[string]string{"command-line": "device_add " + device}},
	} {
		if err := out.Encode(c); err != nil {
			return fmt.Errorf("%w: %w", errPlug, err)
		}
		said, err := answer(in)
		if err == nil && said != "" {
			err = errors.New(said)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errPlug, err)
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
