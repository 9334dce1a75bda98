package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"troy/agent/decide"
	"troy/chainload"
	"troy/chainload/secureboot"
	"troy/diskwriter/pcdisk"
	"troy/image/trust"
	"troy/internal/digest"
	"troy/internal/version"
	"troy/server/protocol"
)

// describe is what the server is told at check-in.
func (a *agent) describe() *protocol.CheckIn {
	f, d, hw := a.win.firmware, a.facts.Disk, a.o.hardware()
	in := &protocol.CheckIn{Protocol: protocol.Version, Oldest: protocol.Oldest, Machine: a.net.id, Agent: version.Get().String(), Memory: memorySize(),
		Health: healthOf(a.facts.Verdict), LastStart: a.last, Direct: a.direct, Without: protocol.Clean(a.alone, protocol.MaxText), Firmware: string(f.Kind), SecureBoot: f.SecureBoot,
		Keys: keysOf(a.boot.firmware), FirmwareVersion: hw.Firmware, Devices: hw.Report()}
	if d.Condition == decide.Opened {
		s := d.State
		in.Image, in.Version, in.Manifest = s.Image, s.Version, s.Manifest
		in.Staged, in.StagedManifest, in.Merging, in.Previous = s.Staged, s.StagedManifest, s.Merging, s.Previous
	}
	in.Setup, in.Named = ofSetup(&a.facts.Memo.Marks), a.names.named()
	in.Trusted = a.rec.describeTrusted(a.net.media.root)
	in.Disks = a.disk.describe()
	in.Detail, in.Damaged = protocol.Clean(d.Why, protocol.MaxText), d.Condition == decide.Damaged
	if a.facts.Unsupported != "" {
		in.Detail, in.Damaged = protocol.Clean(a.facts.Unsupported, protocol.MaxText), false
	}
	return in
}

// describeTrusted tells below which numbers this machine takes nothing: by them a server whose store
// was restored from an old backup finds out. nil if nothing lasts here.
func (r *records) describeTrusted(root []byte) *protocol.Trusted {
	mem := r.trusted()
	n := trust.Remembered(root, mem)
	if mem == nil || n.Store == "" {
		return nil
	}
	t := &protocol.Trusted{Store: n.Store, Root: n.Root, Targets: n.Targets, Snapshot: n.Snapshot, Timestamp: n.Timestamp, Servers: n.Servers}
	held := maps.Clone(r.Held)
	if held == nil {
		held = map[string]int{}
	}
	if r.disk.machine != nil {
		s := r.disk.machine.State()
		held[s.Image] = max(held[s.Image], s.Version)
		held[s.StagedImage] = max(held[s.StagedImage], s.Staged)
	}
	for _, image := range slices.Sorted(maps.Keys(held)) {
		if image != "" && held[image] > 0 && len(t.Images) < protocol.MaxImages {
			t.Images = append(t.Images, protocol.Held{Image: image, Version: held[image]})
		}
	}
	return t
}

// keysOf tells what Secure Boot goes by. What is more than a message takes is left out.
func keysOf(f *secureboot.Firmware) protocol.Keys {
	list := func(all []secureboot.CA) (out []protocol.CA) {
		for _, c := range all[:min(len(all), protocol.MaxCAs)] {
			out = append(out, protocol.CA{Name: protocol.Clean(c.Name, protocol.MaxText), SHA256: c.SHA256.String()})
		}
		return out
	}
	k := protocol.Keys{SBAT: protocol.Clean(f.Level, protocol.MaxDetail), DBXDate: f.DBXTime, SVN: int64(f.SVN), CAs: list(f.CAs), Revoked: list(f.Revoked)}
	if f.DBX != (digest.Sum{}) {
		k.DBX = f.DBX.String()
	}
	return k
}

func healthOf(v chainload.Verdict) protocol.Health {
	switch v {
	case chainload.Good:
		return protocol.HealthGood
	case chainload.Failing:
		return protocol.HealthFailing
	}
	return protocol.HealthUnknown
}

// describe tells what an image could go to.
func (d *disk) describe() []protocol.Disk {
	disks, err := d.all()
	if err != nil {
		d.con.say("disks: %v", err)
	}
	var all []protocol.Disk
	for _, x := range disks {
		if x.Unfit() != "" || len(all) == protocol.MaxDisks {
			continue
		}
		clean := func(s string) string { return protocol.Clean(s, protocol.MaxText) }
		all = append(all, protocol.Disk{
			Path: clean(x.Path), Model: clean(x.Model), Serial: clean(x.Serial), Size: x.Size, SectorSize: x.SectorSize,
			Empty: x.Holding == pcdisk.Bare || x.Holding == pcdisk.Unfinished, Troy: x.Holding == pcdisk.Prepared,
		})
	}
	return all
}

func memorySize() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// refused says that nothing could be planned because this machine does not take the signatures of
// the store: the store's fault, which a new signature mends.
func refused(done decide.History) bool {
	return slices.ContainsFunc(done, func(r decide.Result) bool {
		old := errors.Is(r.Err, trust.ErrRollback) || errors.Is(r.Err, trust.ErrExpired)
		return r.Step.Kind == decide.Plan && (old || errors.Is(r.Err, trust.ErrSignature))
	})
}

// describeEnd is the report.
func (a *agent) describeEnd() *protocol.Report {
	o := decide.Judged(&a.facts)
	r := &protocol.Report{Protocol: int(a.net.spoken.Load()), ID: fmt.Sprint(time.Now().UnixNano()), Machine: a.net.id, Agent: version.Get().String(),
		Outcome: o.Outcome, ExitCode: exitCode(o), Message: protocol.Clean(o.Message, protocol.MaxDetail),
		Steps:   a.steps[max(0, len(a.steps)-protocol.MaxSteps):],
		Refused: refused(a.facts.Done),
		HandOff: protocol.Clean(string(a.facts.Method), protocol.MaxText), Leaves: protocol.Clean(a.win.leaves, protocol.MaxText), Log: a.con.log()}
	if d := a.facts.Disk; d.Condition == decide.Opened {
		r.Image, r.Version, r.Manifest = d.State.Image, d.State.Version, d.State.Manifest
	}
	r.Lacks, r.Named = decide.Lacks(&a.facts), a.names.named()
	r.Verified, r.EndSetup = verified(&a.facts), a.facts.EndedSetup
	return r
}
