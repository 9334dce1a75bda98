package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"troy/internal/durable"
	"troy/trial/inside"
)

// Trial is one.
type Trial struct {
	o      Options
	source *Source
	host   *Host
	folder *os.File // locked while the trial is there
	need   *Need
	state  state
	troy   *commands
	log    *os.File
	server *server
	tells  *tells

	current string // the step that is done

	mu  sync.Mutex
	ups map[int]chan struct{} // closed when the program told of an order
}

// state is what a trial that goes on has to know: trial.json.
type state struct {
	Source  string        `json:"source"`
	Stamp   string        `json:"stamp"` // of Source: its size and when it was written
	Edition string        `json:"edition"`
	Secure  *bool         `json:"secure"`  // whether the firmware of the PCs enforces Secure Boot; nil: not known yet
	Setup   bool          `json:"setup"`   // as of Source: of what had to be converted it is known late
	Bound   string        `json:"bound"`   // the same
	Done    []string      `json:"done"`    // steps, by their names
	Order   int           `json:"order"`   // the last order that was given
	Version int           `json:"version"` // the newest that was published
	Good    int           `json:"good"`    // the newest that starts
	Size    int64         `json:"size"`    // of the virtual disk, in bytes
	Cuts    cuts          `json:"cuts"`
	Doomed  int           `json:"doomed"`  // how often the broken version was handed over to
	Longest time.Duration `json:"longest"` // start that came up, in nanoseconds
	Found   []Finding     `json:"found"`
	Seen    evidence      `json:"seen"`
}

// Finding is one thing that was looked at.
type Finding struct {
	During string `json:"during"` // which step, by its name
	Step   string `json:"step"`
	OK     bool   `json:"ok"`
	Text   string `json:"text"`
}

const (
	stateFile = "trial.json"
	logFile   = "troy.log"
)

// Steps are the names of the steps, in their order.
func Steps() (names []string) {
	for _, s := range steps {
		names = append(names, s.name)
	}
	return names
}

// Prepare looks at this machine and at the source, and opens the folder: all that can be found
// before anything long begins. Errors: ErrSource, ErrHost, ErrFolder.
func Prepare(ctx context.Context, o Options) (t *Trial, err error) {
	t = &Trial{o: o}
	if t.source, err = LookAt(ctx, o.Source, o.Edition); err != nil {
		return nil, err
	}
	if err := t.open(); err != nil {
		return nil, err
	}
	t.source.Setup = t.source.Setup || t.state.Setup
	t.source.Bound = orDefault(t.source.Bound, t.state.Bound)
	if err := t.source.allowed(&o); err != nil {
		return nil, err
	}
	left := estimate(&o, t.source, true)
	if len(t.state.Done) > 0 {
		left.Bytes = 0 // what it needs was taken when it began, or is needed only in part
	}
	if t.host, err = lookAtHost(ctx, &t.o, t.source, left); err != nil {
		return nil, err
	}
	if err := t.sameFirmware(); err != nil {
		return nil, err
	}
	t.need = estimate(&o, t.source, t.host.KVM)
	return t, nil
}

// sameFirmware refuses to go on with another firmware than the PCs have their variables for.
func (t *Trial) sameFirmware() error {
	secure := t.host.Firmware.Secure
	if s := t.state.Secure; s != nil && *s != secure {
		return fmt.Errorf("%w: the PCs in %s began with Secure Boot %s, and now it is %s: ask for the same, or take another folder", ErrFolder, t.o.Dir, onOff(*s), onOff(secure))
	}
	t.state.Secure = &secure
	return nil
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// About are lines about what is tried and on what.
func (t *Trial) About() []string {
	what := "disk image"
	if t.source.Medium {
		what = "installation medium"
	}
	all := []string{fmt.Sprintf("%s: %s, edition %s, build %s", t.source.Path, what, orDefault(t.source.Edition, "not known"), orDefault(t.source.Build, "not known"))}
	if t.host.KVM {
		all = append(all, "the virtual PCs run in KVM")
	} else {
		all = append(all, "no KVM ("+t.host.WhyNot+"): the virtual PCs are emulated, which takes about ten times as long")
	}
	firmware := "OVMF without Secure Boot"
	if t.host.Firmware.Secure {
		firmware = "OVMF with Secure Boot"
	}
	tpm := "no TPM (swtpm is not installed)"
	if t.host.TPM != "" {
		tpm = "a TPM"
	}
	return append(all, fmt.Sprintf("firmware: %s, %s", firmware, tpm), fmt.Sprintf("this takes %s", t.need))
}

// open takes the folder. A second trial in it would write to the same disks; the lock goes with the
// process.
func (t *Trial) open() (err error) {
	if err := os.MkdirAll(t.o.Dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrFolder, err)
	}
	if t.folder, err = os.Open(t.o.Dir); err != nil {
		return fmt.Errorf("%w: %w", ErrFolder, err)
	}
	if err := syscall.Flock(int(t.folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("%w: another trial runs in %s: %w", ErrFolder, t.o.Dir, errors.Join(err, t.folder.Close()))
	}
	if err := t.read(); err != nil {
		return errors.Join(err, t.folder.Close())
	}
	return nil
}

// read reads the state of a trial that goes on.
func (t *Trial) read() error {
	info, err := os.Stat(t.o.Source)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSource, err)
	}
	stamp := fmt.Sprintf("%d bytes, %s", info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano))
	b, err := os.ReadFile(filepath.Join(t.o.Dir, stateFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		names, err := os.ReadDir(t.o.Dir)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFolder, err)
		}
		if len(names) > 0 {
			return fmt.Errorf("%w: %s is not empty and holds no trial", ErrFolder, t.o.Dir)
		}
		t.state = state{Source: t.o.Source, Stamp: stamp, Edition: t.source.Choice}
		return nil
	case err == nil:
		err = json.Unmarshal(b, &t.state)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrFolder, filepath.Join(t.o.Dir, stateFile), err)
	}
	if t.state.Source != t.o.Source || t.state.Edition != t.source.Choice {
		return fmt.Errorf("%w: %s holds a trial of %s; go on with that, or take another folder", ErrFolder, t.o.Dir, t.state.Source)
	}
	if t.state.Stamp != stamp {
		return fmt.Errorf("%w: %s was written to since the trial in %s began: take another folder", ErrFolder, t.o.Source, t.o.Dir)
	}
	return nil
}

func (t *Trial) save() error {
	b, err := json.MarshalIndent(&t.state, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(t.o.Dir, stateFile), append(b, '\n'), 0o600)
}

// Run goes through the steps that are not done yet. What it found is in Result and Text, also
// when it ends early: ErrStopped, ErrCommand, the context's error.
func (t *Trial) Run(ctx context.Context) (err error) {
	if t.log, err = os.OpenFile(filepath.Join(t.o.Dir, logFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	defer t.log.Close()
	t.troy = &commands{troy: t.o.Troy, dir: t.o.Dir, log: t.log, out: t.o.Out}
	if t.tells, err = listen(t.heard); err != nil {
		return err
	}
	defer t.tells.close()
	defer func() {
		if t.server != nil {
			err = errors.Join(err, t.server.stop())
		}
	}()
	for i, s := range steps {
		if slices.Contains(t.state.Done, s.name) {
			continue
		}
		t.say("[%d/%d] %s", i+1, len(steps), s.title)
		t.begin(s.name)
		if err := s.do(t, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
		t.state.Done = append(t.state.Done, s.name)
		if err := t.save(); err != nil || s.name == t.o.Until {
			return err
		}
	}
	return nil
}

// begin begins a step, perhaps again: what was found in it before does not count.
func (t *Trial) begin(step string) {
	t.current = step
	t.state.Found = slices.DeleteFunc(t.state.Found, func(f Finding) bool { return f.During == step && step != "cuts" })
}

// heard is called when the program in Windows tells that it is up.
func (t *Trial) heard(r *inside.Record) {
	fmt.Fprintf(t.o.Out, "    Windows says that it is up (start %d)\n", r.Order)
	told := t.upAt(r.Order)
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-told: // it told before
	default:
		close(told)
	}
}

// upAt is closed when the program in Windows told of an order.
func (t *Trial) upAt(order int) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ups == nil {
		t.ups = map[int]chan struct{}{}
	}
	if t.ups[order] == nil {
		t.ups[order] = make(chan struct{})
	}
	return t.ups[order]
}

// find notes whether something is as it should be.
func (t *Trial) find(step string, ok bool, format string, args ...any) {
	f := Finding{t.current, step, ok, fmt.Sprintf(format, args...)}
	t.state.Found = append(t.state.Found, f)
	t.say("    %s %s", mark(ok), f.Text)
}

func mark(ok bool) string {
	if ok {
		return "ok  "
	}
	return "FAIL"
}

// Failed counts what is not as it should be.
func (t *Trial) Failed() (n int) {
	for _, f := range t.state.Found {
		if !f.OK {
			n++
		}
	}
	return n
}
