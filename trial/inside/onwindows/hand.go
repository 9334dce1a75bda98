package onwindows

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"troy/trial/inside"
)

// handPatience is how long the program waits for its disc when it is started by hand from there.
const handPatience = 10 * time.Second

// Windows shuts down some time after the program has ended: the first logon goes on meanwhile, and
// a start comes as far as it would.
const (
	handGrace    = time.Minute
	serviceGrace = 20 * time.Second
)

// drive is drive C, without a slash.
func drive() string {
	if d := os.Getenv("SystemDrive"); d != "" {
		return d
	}
	return "C:"
}

// here is the place of a start in the running Windows, which shuts down after some time.
func here(wait, grace time.Duration) *place {
	dir := filepath.Join(drive()+`\`, "Troy")
	cds := func() []string { cd, _ := drives(); return cd }
	return &place{roots: cds, dir: dir, wait: wait, system: &system{dir: dir, grace: grace}}
}

// Hand is a start by hand, as the first logon makes one. With install the program is copied to
// \Troy of drive C before, and made a service that starts with Windows.
func Hand(ctx context.Context, install bool) (*inside.Record, error) {
	if err := supported(); err != nil {
		return nil, err
	}
	p := here(handPatience, handGrace)
	if !install {
		return p.up(ctx, inside.Desktop, nil)
	}
	return p.up(ctx, inside.Desktop, func() error {
		program, err := p.copySelf()
		if err != nil {
			return err
		}
		return makeService(program)
	})
}

// started is a start by the service. While setup is at work it does nothing.
func started(ctx context.Context) error {
	if setupAtWork() {
		return nil
	}
	_, err := here(patience, serviceGrace).up(ctx, inside.Up, nil)
	return err
}
