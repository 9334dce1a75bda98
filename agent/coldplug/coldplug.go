package coldplug

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"troy/internal/errline"
	"troy/internal/kmodule"
	"troy/internal/wait"
)

// always are the modules that no device asks for: firmware variables and what is
// needed to mount an ESP.
func always() []string { return []string{"efivarfs", "vfat", "nls_cp437", "nls_ascii"} }

// LoadError is a module that could not be loaded.
type LoadError struct {
	Module string
	Err    error
}

// Error names the module and what the kernel said.
func (e *LoadError) Error() string { return fmt.Sprintf("driver %s: %v", e.Module, e.Err) }

// Unwrap returns what the kernel said.
func (e *LoadError) Unwrap() error { return e.Err }

// Plugger loads drivers and remembers which it has tried. Not for concurrent use.
type Plugger struct {
	db     *database
	dir    string             // of the modules
	sys    string             // where sysfs is mounted
	always []string           // loaded whatever devices there are
	load   func(string) error // loads the module file; called from several goroutines at once
	news   func(context.Context) <-chan struct{}
	tried  map[string]bool // modules
	seen   map[string]bool // modaliases
}

// New reads the database of the running kernel's modules.
func New() (*Plugger, error) {
	release, err := runningRelease()
	if err != nil {
		return nil, err
	}
	return newPlugger(filepath.Join("/lib/modules", release), "/sys", always(), kmodule.Load)
}

func newPlugger(dir, sys string, always []string, load func(string) error) (*Plugger, error) {
	db, err := readDatabase(dir)
	return &Plugger{db: db, dir: dir, sys: sys, always: always, load: load, news: uevents,
		tried: map[string]bool{}, seen: map[string]bool{}}, err
}

// scan loads the drivers of all devices that are there, and looks again until a look finds no new
// device with a driver. It returns the modules it loaded, in order, and the [LoadError] values of
// those that failed, joined. The end of ctx is not an error.
func (p *Plugger) scan(ctx context.Context) (loaded []string, err error) {
	loaded, err = p.plug(ctx, p.always)
	for ctx.Err() == nil {
		wanted, scanErr := p.wanted()
		if scanErr != nil || len(wanted) == 0 {
			return loaded, errline.Join(err, scanErr)
		}
		more, loadErr := p.plug(ctx, wanted)
		loaded = append(loaded, more...)
		err = errline.Join(err, loadErr)
	}
	clear(p.seen) // the next scan is to look at all of them again
	return loaded, err
}

// Settle loads the drivers of all devices that are there and come until none was loaded for the time
// quiet, or ctx ends. It returns the modules it loaded, in order, and the [LoadError] values of those
// that failed, joined. The end of ctx is not an error: what is there is there.
func (p *Plugger) Settle(ctx context.Context, quiet time.Duration) (loaded []string, err error) {
	const interval = 50 * time.Millisecond
	for last := time.Now(); ; {
		more, scanErr := p.scan(ctx)
		loaded = append(loaded, more...)
		err = errline.Join(err, scanErr)
		if len(more) > 0 {
			last = time.Now()
		}
		if time.Since(last) >= quiet {
			return loaded, err
		}
		if wait.For(ctx, interval) != nil {
			return loaded, err
		}
	}
}

// Follow loads the drivers of devices that come later (a USB network card behind hubs takes
// seconds), each as soon as the kernel tells of it, and tells what a look loaded and what failed.
// It looks once at its beginning, and returns when ctx ends. Nothing else may use the Plugger
// meanwhile.
func (p *Plugger) Follow(ctx context.Context, tell func(loaded []string, err error)) {
	for news := p.news(ctx); ; {
		if loaded, err := p.scan(ctx); len(loaded) > 0 || err != nil {
			tell(loaded, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-news:
		}
	}
}

// plug loads the named modules and what they depend on, unless tried before,
// several at a time: a driver that waits for its device does not hold up the
// others. Names that the folder does not have are passed over: they may be
// built in. The modules it loaded come back in an order that would do one by
// one. The end of ctx is not an error.
func (p *Plugger) plug(ctx context.Context, names []string) (loaded []string, err error) {
	var order []string
	for _, name := range p.db.order(names...) {
		if !p.tried[name] {
			p.tried[name] = true
			order = append(order, name)
		}
	}
	errs := p.loadAll(ctx, order)
	for i, name := range order {
		switch e := errs[i]; {
		case e == nil:
			loaded = append(loaded, name)
		case errors.Is(e, context.Canceled), errors.Is(e, context.DeadlineExceeded):
			delete(p.tried, name)
		case !errors.Is(e, unix.EEXIST):
			err = errline.Join(err, &LoadError{Module: name, Err: e})
		}
	}
	return loaded, err
}

// loadAll loads the modules of order, each when those that it needs are done,
// and returns what came of each.
func (p *Plugger) loadAll(ctx context.Context, order []string) []error {
	const atOnce = 4
	errs := make([]error, len(order))
	done := map[string]chan struct{}{}
	for _, name := range order {
		done[name] = make(chan struct{})
	}
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, name := range order {
		all.Go(func() {
			defer close(done[name])
			for _, d := range p.db.before(name) {
				if c := done[d]; c != nil && slices.Index(order[:i], d) >= 0 { // not of a cycle
					<-c
				}
			}
			slots <- struct{}{}
			defer func() { <-slots }()
			if errs[i] = ctx.Err(); errs[i] == nil {
				errs[i] = p.load(filepath.Join(p.dir, p.db.path(name)))
			}
		})
	}
	all.Wait()
	return errs
}

// wanted returns the modules, not tried yet, of devices not seen yet.
func (p *Plugger) wanted() ([]string, error) {
	aliases, err := modaliases(p.sys)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, a := range aliases {
		if p.seen[a] {
			continue
		}
		p.seen[a] = true
		for _, name := range p.db.match(a) {
			if !p.tried[name] && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// modaliases returns the modalias of every device below sys/bus, sorted, each once. Going by bus
// finds the same devices as a walk of sys/devices with far fewer reads.
func modaliases(sys string) ([]string, error) {
	buses, err := os.ReadDir(filepath.Join(sys, "bus"))
	if err != nil {
		return nil, fmt.Errorf("coldplug: %w", err)
	}
	var aliases []string
	for _, bus := range buses {
		dir := filepath.Join(sys, "bus", bus.Name(), "devices")
		devices, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("coldplug: %w", err)
		}
		for _, d := range devices {
			if a := modalias(filepath.Join(dir, d.Name())); a != "" {
				aliases = append(aliases, a)
			}
		}
	}
	slices.Sort(aliases)
	return slices.Compact(aliases), nil
}

// modalias returns that of a device; "" if it has none or was unplugged meanwhile. Some buses show
// it in the file uevent alone: eMMC and SD cards, Memory Sticks.
func modalias(dir string) string {
	if b, err := os.ReadFile(filepath.Join(dir, "modalias")); err == nil {
		return strings.TrimSpace(string(b))
	}
	b, err := os.ReadFile(filepath.Join(dir, "uevent"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if a, ok := strings.CutPrefix(line, "MODALIAS="); ok {
			return strings.TrimSpace(a)
		}
	}
	return ""
}

func runningRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("coldplug: uname: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}
