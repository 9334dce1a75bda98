package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"troy/chainload/selfboot"
	"troy/image"
	"troy/image/trust"
	"troy/server/protocol"
)

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
	next, verdict, message := a.memo.Agent.Judge(st)
	a.memo.Agent, a.trial = next, verdict == selfboot.OnTrial
	if message != "" {
		a.say("agent: %s", message)
	}
	if verdict == selfboot.TrialFailed {
		if err := a.keep(); err != nil {
			a.say("journal: %v", err)
		}
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
	a.memo.Agent, a.trial = next, false
	if err := a.keep(); err != nil {
		a.say("journal: %v", err)
	}
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
	if c, ok := st.Copies[st.First]; ok && c.Problem == nil && c.Version == order.Agent {
		return false, nil // it is what starts already
	}
	if order.Retry {
		a.memo.Agent = a.memo.Agent.Forget(order.Agent)
	}
	src, err := a.openStore(ctx, order)
	if err != nil {
		return false, err
	}
	release, err := a.release(ctx, src, order.Agent)
	if err != nil {
		return false, err
	}
	if st.Running == "" {
		r, err := selfboot.Install(ctx, o, release)
		if err == nil {
			a.say("agent: %s is on this machine's own disk, copy %s; it starts without stick or network from now on", release.Version, r.Copy)
		}
		return false, err
	}
	next, err := selfboot.Update(ctx, o, a.memo.Agent, release)
	if err != nil {
		return false, err
	}
	a.memo.Agent = next
	if err := a.keep(); err != nil {
		return false, err
	}
	method, err := selfboot.Arm(o, next.Trial)
	if err == nil {
		a.say("agent: %s is tried at the next start, by %s", release.Version, method)
	}
	return true, err
}

// Names of the boot files in a release, as `troy media` calls them.
var releaseFiles = struct{ shim, grub, kernel, initrd, uki string }{"shimx64.efi", "gcdx64.efi", "vmlinuz", "initramfs.cpio.zst", "troy.efi"}

// release fetches a signed release of the agent into memory.
func (a *agent) release(ctx context.Context, src *trust.Source, version string) (*selfboot.Release, error) {
	r, err := src.AgentRelease(ctx)
	if err != nil {
		return nil, err
	}
	if r.Version != version {
		return nil, fmt.Errorf("%w: release %s of the agent was ordered, the store has %s", image.ErrNotFound, version, r.Version)
	}
	fetch := func(name string) (selfboot.File, error) {
		f := r.File(name)
		if f == nil {
			return selfboot.File{}, fmt.Errorf("%w: release %s of the agent has no %s", image.ErrNotFound, version, name)
		}
		var b bytes.Buffer
		if err := src.Fetch(ctx, r.Path(name), &b); err != nil {
			return selfboot.File{}, err
		}
		return selfboot.File{Name: name, Size: f.Size, SHA256: selfboot.Hash(f.SHA256), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(b.Bytes())), nil
		}}, nil
	}
	if r.File(releaseFiles.shim) == nil {
		uki, err := fetch(releaseFiles.uki)
		return selfboot.NewUKI(version, uki), err
	}
	var files [4]selfboot.File
	for i, name := range []string{releaseFiles.shim, releaseFiles.grub, releaseFiles.kernel, releaseFiles.initrd} {
		if files[i], err = fetch(name); err != nil {
			return nil, err
		}
	}
	return selfboot.NewSigned(version, files[0], files[1], files[2], files[3], ownArguments()), nil
}

// ownArguments are the kernel's arguments of this start that a copy on the ESP needs, too.
func ownArguments() string {
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return "quiet"
	}
	var keep []string
	for _, word := range strings.Fields(string(b)) {
		key, _, _ := strings.Cut(word, "=")
		switch {
		case key == "troy.copy" || key == "troy.shell" || key == "troy.disk":
		case key == "console" || key == "quiet" || strings.HasPrefix(key, "troy."):
			keep = append(keep, word)
		}
	}
	return strings.Join(keep, " ")
}
