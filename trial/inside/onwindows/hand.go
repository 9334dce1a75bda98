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

// drive is drive C, without a slash.
func drive() string {
	if d := os.Getenv("SystemDrive"); d != "" {
		return d
	}
	return "C:"
}

// here is the place of a start in the running Windows.
func here(wait time.Duration) *place {
	dir := filepath.Join(drive()+`\`, "Troy")
	cds := func() []string { cd, _ := drives(); return cd }
	return &place{roots: cds, dir: dir, wait: wait, system: &system{dir: dir}}
}

// Install copies the running program to \Troy of drive C, makes it a service that starts with
// Windows, and makes the two files.
func Install(ctx context.Context) error {
	if err := supported(); err != nil {
		return err
	}
	program, err := here(handPatience).install(ctx)
	if err != nil {
		return err
	}
	return makeService(program)
}

// Hand is a start by hand, as the first logon makes one.
func Hand(ctx context.Context) (*inside.Record, error) {
	if err := supported(); err != nil {
		return nil, err
	}
	return here(handPatience).up(ctx, inside.Desktop)
}

// started is a start by the service. While setup is at work it does nothing.
func started(ctx context.Context) error {
	if setupAtWork() {
		return nil
	}
	_, err := here(patience).up(ctx, inside.Up)
	return err
}
