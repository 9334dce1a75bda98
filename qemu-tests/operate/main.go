// Command operate is the init of a virtual PC that carries out, on its disk, what the kernel
// argument "operate" names: "reset", "rollback", in this order, separated by commas. It opens the
// disk as troy disk does, says "OPERATE: done" or what went wrong on the console, and powers off.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/internal/testing/guest/inside"
)

func main() {
	if err := work(); err != nil {
		fmt.Printf("OPERATE: %v\n", err)
	} else {
		fmt.Println("OPERATE: done")
	}
	inside.PowerOff()
}

func work() error {
	for _, fs := range []struct{ kind, where string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}} {
		if err := os.MkdirAll(fs.where, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(fs.kind, fs.where, fs.kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", fs.where, err)
		}
	}
	if err := inside.LoadModules(); err != nil {
		return err
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	for _, word := range strings.Fields(string(cmdline)) {
		if list, ok := strings.CutPrefix(word, "operate="); ok {
			return operate(strings.Split(list, ","))
		}
	}
	return fmt.Errorf("nothing to do in %q", cmdline)
}

func operate(what []string) error {
	ctx := context.Background()
	t, err := pcdisk.Look("/dev/vda", &blockdev.Options{Exclusive: true})
	if err != nil {
		return err
	}
	defer t.Close()
	m, _, err := t.Open()
	if err != nil {
		return err
	}
	if err := m.Recover(ctx); err != nil {
		return err
	}
	if err := t.Record(); err != nil {
		return err
	}
	does := map[string]func(*machine.Machine) error{
		"reset":    func(m *machine.Machine) error { return m.Reset(ctx) },
		"rollback": func(m *machine.Machine) error { return m.Rollback(ctx) },
	}
	for _, name := range what {
		do := does[name]
		if do == nil {
			return fmt.Errorf("unknown operation %q", name)
		}
		if err := do(m); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
