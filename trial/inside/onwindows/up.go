package onwindows

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"troy/internal/errline"
	"troy/trial/inside"
)

// ErrNoOrder: no CD drive has a disc with an order.
var ErrNoOrder = errors.New("no disc of a trial: no CD drive has " + inside.OrderFile)

const (
	// patience is how long a service waits for the drives of Windows.
	patience = 2 * time.Minute
	// lookEvery is how often it looks meanwhile.
	lookEvery = time.Second
	// limit is how long a start may take in all.
	limit = 2 * time.Hour
)

// place is where a start takes place.
type place struct {
	roots  func() []string // of the drives that may hold the disc
	dir    string          // \Troy of drive C
	wait   time.Duration   // for the disc
	system inside.System
}

// up is one start: it finds the order and does what it says. Install, if not nil, comes before
// that; what it could not do is a line of the record.
func (p *place) up(ctx context.Context, phase inside.Phase, install func() error) (*inside.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	order, err := p.order(ctx)
	if err != nil {
		return nil, err
	}
	start := &inside.Start{Order: order, Phase: phase, System: p.system}
	if install != nil {
		if err := install(); err != nil {
			start.Failed = append(start.Failed, "install: "+err.Error())
		}
	}
	files, err := inside.OpenFiles(p.dir, order)
	if err != nil {
		start.Failed = append(start.Failed, "files: "+err.Error())
		return inside.Run(ctx, start)
	}
	start.Ballast, start.Size, start.Records = files.Ballast, files.Size, files.Records
	r, err := inside.Run(ctx, start)
	if err == nil && order.Wants(inside.Stay) && files.Ballast != nil {
		err = inside.KeepWriting(ctx, files.Ballast, files.Size, nil) // the power is cut meanwhile
	}
	return r, errline.Join(err, files.Close())
}

// order waits for the disc.
func (p *place) order(ctx context.Context) (*inside.Order, error) {
	end := time.Now().Add(p.wait)
	for {
		o, err := p.lookOnce()
		if !errors.Is(err, ErrNoOrder) || !time.Now().Before(end) {
			return o, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

// lookOnce looks for the disc in all drives. A drive that cannot be read counts as empty.
func (p *place) lookOnce() (*inside.Order, error) {
	for _, root := range p.roots() {
		b, err := os.ReadFile(filepath.Join(root, inside.OrderFile))
		if err != nil {
			continue
		}
		o, err := inside.ParseOrder(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(root, inside.OrderFile), err)
		}
		return o, nil
	}
	return nil, ErrNoOrder
}

// copySelf copies the running program into the folder, and returns where it is.
func (p *place) copySelf() (program string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return "", err
	}
	program = filepath.Join(p.dir, inside.ProgramFile)
	return program, copyProgram(program, self)
}

// testDisks finds the folder of test disks: \gates of the first root that has one.
func testDisks(roots []string) (string, error) {
	for _, root := range roots {
		dir := filepath.Join(root, "gates")
		if _, err := os.Stat(filepath.Join(dir, "manifest.json")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf(`no drive has \gates with test disks: %w`, fs.ErrNotExist)
}
