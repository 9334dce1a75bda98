package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"troy/chainload/release"
	"troy/chainload/selfboot"
	"troy/image"
	"troy/image/trust"
	"troy/internal/digest"
	"troy/server/protocol"
)

// ownCopy is what this start knows of the agent's copies on the machine's ESP.
type ownCopy struct {
	entry  *uint16 // the boot entry that stays the first; nil: the one that started this agent
	failed string  // the version that did not come up on the trial before this start
}

// judgeAgent finds out whether this agent is one on trial, or the old one after a trial that failed.
func (a *agent) judgeAgent(ctx context.Context) {
	if a.memo.Agent.Trial == nil || !a.uefi() {
		return
	}
	st, err := selfboot.Inspect(ctx, a.selfbootOptions())
	if err != nil {
		a.say("agent: %v", err)
		return
	}
	tried := a.memo.Agent.Trial.Version
	next, verdict, message := a.memo.Agent.Judge(st)
	a.memo.Agent, a.trial = next, verdict == selfboot.OnTrial
	if message != "" {
		a.say("%s", message)
	}
	if verdict == selfboot.TrialFailed {
		a.own.failed = tried
		a.keepState(next)
	}
}

// keepState makes s what is remembered of updates.
func (a *agent) keepState(s selfboot.State) {
	a.memo.Agent = s
	if err := a.keep(); err != nil {
		a.say("journal: %v", err)
	}
}

// confirmAgent makes a new agent that has reported the one that starts from now on.
func (a *agent) confirmAgent() {
	if !a.trial {
		return
	}
	next, err := selfboot.Confirm(a.selfbootOptions(), a.memo.Agent)
	if err != nil {
		a.say("agent: %v", err)
		return
	}
	a.trial = false
	a.keepState(next)
	a.say("agent: the new one is kept")
}

// keepAgent brings the agent that is ordered to the machine's ESP. It returns true when the machine has to be restarted
// into it. It is never a reason to stop.
func (a *agent) keepAgent(ctx context.Context, order *protocol.Order) (restart bool) {
	if order.Agent == "" || a.trial || a.target == nil || a.noWindows || !a.uefi() {
		return false
	}
	restart, err := a.bringAgent(ctx, order)
	switch {
	case errors.Is(err, selfboot.ErrCurrent):
	case err != nil:
		a.say("agent: %v", err)
	}
	return restart && err == nil
}

func (a *agent) bringAgent(ctx context.Context, order *protocol.Order) (restart bool, err error) {
	o := a.selfbootOptions()
	st, err := selfboot.Inspect(ctx, o)
	if err != nil {
		return false, err
	}
	if st.Running == "" && st.First != "" {
		a.own.entry = st.Copies[st.First].Entry // the stick or the network that started this agent is needed once
	}
	if holds(st, st.First, order.Agent) || holds(st, st.Running, order.Agent) {
		return false, nil // it starts already
	}
	state, err := a.mayTry(st, order)
	if err != nil {
		return false, err
	}
	src, err := a.openStore(ctx, order)
	if err != nil {
		return false, err
	}
	r, err := a.release(ctx, src, order.Agent)
	if err != nil {
		return false, err
	}
	if st.Running == "" {
		return false, a.install(ctx, o, state, r)
	}
	return a.update(ctx, o, state, r)
}

// holds says whether a copy is whole and of that version.
func holds(st *selfboot.Status, c selfboot.Copy, version string) bool {
	state, ok := st.Copies[c]
	return ok && state.Problem == nil && state.Version == version
}

// mayTry refuses a version that did not come up here, before it is fetched. An order to try again counts from the start after
// the one that found that out: it may stand for long.
func (a *agent) mayTry(st *selfboot.Status, order *protocol.Order) (selfboot.State, error) {
	s, v := a.memo.Agent, order.Agent
	if order.Retry && a.own.failed != v {
		return s.Forget(v), nil
	}
	if slices.Contains(s.Failed, v) {
		return s, fmt.Errorf("%w: %s; order it again to try once more", selfboot.ErrFailedBefore, v)
	}
	if st.Running == "" && s.Trial != nil && s.Trial.Version == v {
		return s, fmt.Errorf("%w: %s, on this machine's own disk: start it from there", selfboot.ErrTrial, v)
	}
	return s, nil
}

// install brings the first copy to the ESP.
func (a *agent) install(ctx context.Context, o *selfboot.Options, s selfboot.State, r *selfboot.Release) error {
	done, err := selfboot.Install(ctx, o, r)
	if err != nil {
		return err
	}
	a.own.entry = &done.Entry
	a.say("agent: %s is on this machine's own disk, copy %s; it starts without stick or network from now on", r.Version, done.Copy)
	s.Trial = nil // whatever was tried is not what starts
	a.keepState(s)
	return nil
}

// update brings a newer release to the copy that does not run, and makes the next start its trial.
func (a *agent) update(ctx context.Context, o *selfboot.Options, s selfboot.State, r *selfboot.Release) (restart bool, err error) {
	next, err := selfboot.Update(ctx, o, s, r)
	if err != nil {
		return false, err
	}
	before := a.memo.Agent
	a.memo.Agent = next
	if err := a.keep(); err != nil {
		a.memo.Agent = before
		return false, err
	}
	method, err := selfboot.Arm(o, next.Trial)
	if err != nil {
		a.keepState(before) // it is not the release that failed
		return false, err
	}
	a.say("agent: %s is tried at the next start, by %s", r.Version, method)
	return true, nil
}

// release fetches a signed release of the agent into memory.
func (a *agent) release(ctx context.Context, src *trust.Source, version string) (*selfboot.Release, error) {
	have, err := src.AgentRelease(ctx)
	if err != nil {
		return nil, err
	}
	if have.Version != version {
		return nil, fmt.Errorf("%w: release %s of the agent was ordered, the store has %s", image.ErrNotFound, version, have.Version)
	}
	names := release.Signed()
	if have.File(release.Shim) == nil {
		names = []string{release.UKI}
	}
	content := map[string][]byte{}
	r := &selfboot.Release{Release: release.Release{Version: version}, Cmdline: ownArguments(), Open: func(name string) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content[name])), nil
	}}
	for _, name := range names {
		f := have.File(name)
		if f == nil {
			return nil, fmt.Errorf("%w: release %s of the agent has no %s", image.ErrNotFound, version, name)
		}
		var b bytes.Buffer
		if err := src.Fetch(ctx, have.Path(name), &b); err != nil {
			return nil, err
		}
		content[name] = b.Bytes()
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
