package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"troy/internal/testing/standin"
	"troy/internal/testing/testlab"
	"troy/internal/testing/vmlab"
)

// fromStick starts a PC with a screen from the boot stick, shows once what is on the screen, and
// waits until the PC is powered off.
func fromStick(ctx context.Context, pc *testlab.PC, out io.Writer) error {
	c, err := pc.USBConfig()
	if err != nil {
		return err
	}
	c.Args = append(c.Args, vmlab.Screen...)
	m, err := vmlab.Start(ctx, c)
	if err != nil {
		return err
	}
	defer m.Close()
	if _, err = m.Expect(ctx, `deploy: .* to fetch`); err == nil {
		err = showScreen(ctx, m, out)
	}
	if err = errors.Join(err, m.Wait(ctx)); err == nil && !strings.Contains(m.Log(), standin.Started) {
		err = errors.New("the PC did not start Windows")
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, m.Log())
	}
	return nil
}

// showScreen prints the page that is on the screen of a PC while it fetches a version, unless that
// is over too soon.
func showScreen(ctx context.Context, m *vmlab.VM, out io.Writer) error {
	for !strings.Contains(m.Log(), "is committed") && ctx.Err() == nil {
		img, err := m.Screenshot(ctx)
		if err != nil {
			return err
		}
		lines, err := vmlab.Text(img)
		if err != nil {
			return err
		}
		page := strings.Join(lines, "\n")
		if !strings.Contains(page, "Fetching") || !strings.Contains(page, "%") {
			time.Sleep(between) // it comes, or is over
			continue
		}
		fmt.Fprintln(out, "\nthe screen of the PC:")
		for _, l := range lines {
			if l != "" {
				fmt.Fprintf(out, "    |%s\n", strings.TrimPrefix(l, strings.Repeat(" ", margin)))
			}
		}
		fmt.Fprintln(out)
		return nil
	}
	return ctx.Err()
}

// between is the time between two looks: QEMU does nothing else while it takes a picture.
const between = 200 * time.Millisecond

// margin is how far the page is from the left side of the screen.
const margin = (128 - 80) / 2
