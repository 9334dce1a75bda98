package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"troy/chainload/release"
	"troy/chainload/selfboot"
	"troy/image"
	"troy/image/trust"
	"troy/internal/digest"
	"troy/server/protocol"
)

// ownCopy is the agent's copies on the machine's ESP.
type ownCopy struct {
	con   *console
	rec   *records
	win   *windows
	store *store

	trial  bool    // this agent is a new one that has to report before it is kept
	entry  *uint16 // the boot entry of the copy that is to be the first; nil: not known
	inside bool    // this agent was started from its copy on the ESP
	none   bool    // there is no copy on the ESP
	failed string  // the version that did not come up on the trial before this start
}

func (c *ownCopy) options() *selfboot.Options {
	t := c.win.disk.target
	return &selfboot.Options{ESPDevice: partitionPath(t.Device.Path(), t.ESP.Number), ESP: c.win.espEntry()}
}

// judge finds out whether this agent is one on trial, or the old one after a trial that failed.
func (c *ownCopy) judge(ctx context.Context) {
	if c.rec.Agent.Trial == nil || !c.win.uefi() {
		return
	}
	st, err := selfboot.Inspect(ctx, c.options())
	if err != nil {
		c.con.say("agent: %v", err)
		return
	}
	tried := c.rec.Agent.Trial.Version
	next, verdict, message := c.rec.Agent.Judge(st)
	c.rec.Agent, c.trial = next, verdict == selfboot.OnTrial
	if message != "" {
		c.con.say("%s", message)
	}
	if verdict == selfboot.TrialFailed {
		c.failed = tried
		c.keep(next)
	}
}

// keep makes s what is remembered of updates.
func (c *ownCopy) keep(s selfboot.State) {
	c.rec.Agent = s
	if err := c.rec.keep(); err != nil {
		c.con.say("journal: %v", err)
	}
}

// confirm makes a new agent that has reported the one that starts from now on.
func (c *ownCopy) confirm(ctx context.Context) error {
	next, err := selfboot.Confirm(c.options(), c.rec.Agent)
	if err != nil {
		c.con.say("agent: %v", err)
		return err
	}
	c.trial, c.inside = false, true
	c.keep(next)
	c.con.say("agent: keeping the new one, which is the first in the boot order now")
	c.fallback(ctx)
	return nil
}

// place finds the boot entry of the copy that the firmware is to start first. A medium that starts
// the agent while there is a copy is needed once.
func (c *ownCopy) place(ctx context.Context) {
	if c.trial || c.entry != nil || !c.win.uefi() {
		return
	}
	own, err := selfboot.Ensure(ctx, c.options())
	if err != nil {
		c.con.say("agent: %v", err)
	}
	if own != nil {
		c.entry, c.inside = own.Entry, own.Running
	}
	c.none = own == nil && err == nil
}

// settled tells whether the next start is one of this agent, as far as the agents are concerned: it
// is no trial, and no medium that starts it beside a copy of another release. Then what it keeps may
// be what only this release reads.
func (c *ownCopy) settled(order *protocol.Order) bool {
	another := order != nil && order.Agent != ""
	return !c.trial && c.rec.Agent.Trial == nil && (c.inside || c.none && !another)
}

// fallback has the firmware find the agent when it loses its boot entries. It is for the end of a
// start: the entries of the agent and of Windows have to be there.
func (c *ownCopy) fallback(ctx context.Context) {
	if c.trial || !c.win.uefi() {
		return
	}
	switch written, err := selfboot.Fallback(ctx, c.options()); {
	case err != nil:
		c.con.say("agent: %v", err)
	case written:
		c.con.say("agent: the firmware starts it also without a boot entry")
	}
}

// bring brings the release that is ordered to the ESP, and says whether the machine has to be
// restarted into it. It is never a reason to stop.
func (c *ownCopy) bring(ctx context.Context, order *protocol.Order) (restart bool, err error) {
	if !c.win.uefi() {
		return false, nil
	}
	restart, err = c.fetch(ctx, order)
	switch {
	case errors.Is(err, selfboot.ErrCurrent):
		return false, nil
	case err != nil:
		c.con.say("agent: %v", err)
	}
	return restart && err == nil, err
}

func (c *ownCopy) fetch(ctx context.Context, order *protocol.Order) (restart bool, err error) {
	o := c.options()
	st, err := selfboot.Inspect(ctx, o)
	if err != nil {
		return false, err
	}
	if holds(st, st.First, order.Agent) || holds(st, st.Running, order.Agent) {
		return false, nil // it starts already
	}
	state, err := c.mayTry(st, order)
	if err != nil {
		return false, err
	}
	src, err := c.store.open(ctx, order)
	if err != nil {
		return false, err
	}
	r, err := c.release(ctx, src, order.Agent)
	if err != nil {
		return false, err
	}
	if st.Running == "" {
		return false, c.install(ctx, o, state, r)
	}
	return c.update(ctx, o, state, r)
}

// holds says whether a copy is whole and of that version.
func holds(st *selfboot.Status, c selfboot.Copy, version string) bool {
	state, ok := st.Copies[c]
	return ok && state.Problem == nil && state.Version == version
}

// ahead notes that the server speaks no protocol that this agent does, which is on trial: it is no
// fault of the agent, and the one before it tries it again once the server does.
func (c *ownCopy) ahead(order *protocol.Order) {
	if !c.trial || order.Protocol >= protocol.Oldest {
		return
	}
	t := *c.rec.Agent.Trial
	t.Protocol = protocol.Oldest
	s := c.rec.Agent
	s.Trial = &t
	c.keep(s)
}

// mayTry refuses a version whose trial failed here, before it is fetched. An order to try again
// counts from the start after the one that found that out: it may stand for long.
func (c *ownCopy) mayTry(st *selfboot.Status, order *protocol.Order) (selfboot.State, error) {
	s, v := c.rec.Agent, order.Agent
	if order.Permits.Retry && c.failed != v {
		return s.Forget(v), nil
	}
	if err := s.Refuses(v, order.Newest); err != nil {
		return s, err
	}
	s = s.Forget(v)
	if st.Running == "" && s.Trial != nil && s.Trial.Version == v {
		return s, fmt.Errorf("%w: %s, on this machine's own disk: start it from there", selfboot.ErrTrial, v)
	}
	return s, nil
}

// install brings the first copy to the ESP.
func (c *ownCopy) install(ctx context.Context, o *selfboot.Options, s selfboot.State, r *selfboot.Release) error {
	done, err := selfboot.Install(ctx, o, r)
	if err != nil {
		return err
	}
	c.entry = &done.Entry
	c.con.say("agent: %s is on this machine's disk, copy %s; from now on it starts without stick or network, as the first in the boot order", r.Version, done.Copy)
	s.Trial = nil // whatever was tried is not what starts
	c.keep(s)
	return nil
}

// update brings a newer release to the copy that does not run, and makes the next start its trial.
func (c *ownCopy) update(ctx context.Context, o *selfboot.Options, s selfboot.State, r *selfboot.Release) (restart bool, err error) {
	next, err := selfboot.Update(ctx, o, s, r)
	if err != nil {
		return false, err
	}
	before := c.rec.Agent
	c.rec.Agent = next
	if err := c.rec.keep(); err != nil {
		c.rec.Agent = before
		return false, err
	}
	method, err := selfboot.Arm(o, next.Trial)
	if err != nil {
		c.keep(before) // it is not the release that failed
		return false, err
	}
	c.con.say("agent: the next start tries %s, by %s", r.Version, method)
	return true, nil
}

// release fetches a signed release of the agent into memory.
func (c *ownCopy) release(ctx context.Context, src *trust.Source, version string) (*selfboot.Release, error) {
	have, err := src.AgentRelease(ctx)
	if err != nil {
		return nil, err
	}
	if have.Version != version {
		return nil, fmt.Errorf("%w: release %s of the agent was ordered, the store has %s", image.ErrNotFound, version, have.Version)
	}
	content := map[string][]byte{}
	r := &selfboot.Release{Release: release.Release{Version: version}, Cmdline: ownArguments(), Open: func(name string) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content[name])), nil
	}}
	for _, name := range release.Files() {
		f := have.File(name)
		if f == nil {
			return nil, fmt.Errorf("%w: release %s of the agent has no %s", image.ErrNotFound, version, name)
		}
		if content[name], err = src.File(ctx, have.Path(name)); err != nil {
			return nil, err
		}
		r.Files = append(r.Files, release.File{Name: name, Size: f.Size, SHA256: digest.Sum(f.SHA256)})
	}
	return r, nil
}

// ownArguments are the kernel arguments of this start: a copy on the ESP may need them as well.
func ownArguments() string {
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return "quiet"
	}
	return string(b)
}
