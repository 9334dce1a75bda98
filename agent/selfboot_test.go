package agent

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/chainload/release"
	"troy/chainload/selfboot"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/server/protocol"
)

// A version that did not come up is tried again only when the order says so, and not in the very
// start that found that out.
func TestMayTry(t *testing.T) {
	onESP, fromStick := &selfboot.Status{Running: selfboot.A, First: selfboot.A}, &selfboot.Status{First: selfboot.A}
	failed := selfboot.State{Failed: []selfboot.Failure{{Version: "1"}, {Version: "2"}}}
	ahead := selfboot.State{Failed: []selfboot.Failure{{Version: "1"}, {Version: "2", Protocol: 7}}}
	trial := selfboot.State{Trial: &selfboot.Trial{Version: "2", Copy: selfboot.B}}
	for name, c := range map[string]struct {
		state  selfboot.State
		st     *selfboot.Status
		retry  bool
		newest int // that the server speaks
		failed string
		want   error
	}{
		"new":                                 {st: onESP},
		"failed":                              {state: failed, st: onESP, want: selfboot.ErrFailedBefore},
		"failed, from the stick":              {state: failed, st: fromStick, want: selfboot.ErrFailedBefore},
		"failed, again":                       {state: failed, st: onESP, retry: true},
		"ahead of its server":                 {state: ahead, st: onESP, newest: 6, want: selfboot.ErrAhead},
		"ahead of a server that says nothing": {state: ahead, st: onESP, want: selfboot.ErrAhead},
		"ahead, the server was upgraded":      {state: ahead, st: onESP, newest: 7},
		"ahead, again":                        {state: ahead, st: onESP, retry: true},
		"failed, the server was upgraded":     {state: failed, st: onESP, newest: 7, want: selfboot.ErrFailedBefore},
		"failed just now, again":              {state: failed, st: onESP, retry: true, failed: "2", want: selfboot.ErrFailedBefore},
		"another failed just now, again":      {state: failed, st: onESP, retry: true, failed: "1"},
		"on trial, from the stick":            {state: trial, st: fromStick, want: selfboot.ErrTrial},
		"on trial, from the stick, again":     {state: trial, st: fromStick, retry: true},
		"another is on trial, from the stick": {state: selfboot.State{Trial: &selfboot.Trial{Version: "1"}}, st: fromStick},
	} {
		own := &ownCopy{rec: &records{}, failed: c.failed}
		own.rec.Agent = c.state
		s, err := own.mayTry(c.st, &protocol.Order{Agent: "2", Newest: c.newest, Permits: protocol.Permits{Retry: c.retry}})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err == nil && len(s.Failed) != max(0, len(c.state.Failed)-1) {
			t.Errorf("%s: it is to be tried again, and %+v", name, s)
		}
	}
}

func TestHolds(t *testing.T) {
	st := &selfboot.Status{Copies: map[selfboot.Copy]selfboot.CopyState{
		selfboot.A: {Version: "1"}, selfboot.B: {Version: "2", Problem: selfboot.ErrSource},
	}}
	for _, c := range []struct {
		copy    selfboot.Copy
		version string
		want    bool
	}{{selfboot.A, "1", true}, {selfboot.A, "2", false}, {selfboot.B, "2", false}, {"", "1", false}, {"", "", false}} {
		if got := holds(st, c.copy, c.version); got != c.want {
			t.Errorf("holds(%q, %q) = %t", c.copy, c.version, got)
		}
	}
}

// signedRelease publishes the files of a folder as a release, signs it, and reads the store as
// media do that trust it.
func (b *bench) signedRelease(from, version string) *trust.Source {
	b.t.Helper()
	store, err := image.OpenStore(b.store)
	b.must(err)
	_, err = sign.PublishAgent(b.t.Context(), store, version, from)
	b.must(err)
	repo, err := sign.Open(b.store, nil)
	b.must(err)
	_, err = repo.SignAll(b.t.Context(), store, time.Now())
	b.must(err)
	root, err := repo.Root()
	b.must(err)
	src, _, err := trust.Pinned(b.t.Context(), store, time.Now(), &trust.PinnedOptions{Root: root})
	b.must(err)
	return src
}

// A release is taken as it was signed: whole, the version that was ordered, and no
// byte of it changed.
func TestRelease(t *testing.T) {
	signed := map[string]string{"shimx64.efi": "shim", "grubx64.efi": "grub", "vmlinuz": "kernel", "initramfs.cpio.zst": "initramfs", "site.cpio": "site"}
	for name, c := range map[string]struct {
		files   map[string]string
		version string // that is ordered
		damage  string
		want    error
	}{
		"signed loaders": {files: signed, version: "7"},
		"another":        {files: signed, version: "8", want: image.ErrNotFound},
		"incomplete":     {files: map[string]string{"shimx64.efi": "shim", "vmlinuz": "kernel"}, version: "7", want: image.ErrNotFound},
		"changed":        {files: signed, version: "7", damage: "vmlinuz", want: trust.ErrContent},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, protocol.MergeNow)
			from := t.TempDir()
			for name, text := range c.files {
				b.must(os.WriteFile(filepath.Join(from, name), []byte(text), 0o644))
			}
			src := b.signedRelease(from, "7")
			if c.damage != "" {
				path := filepath.Join(b.store, "agent", "7", c.damage)
				data, err := os.ReadFile(path)
				b.must(err)
				b.must(os.Chmod(path, 0o644))
				b.must(os.WriteFile(path, bytes.ToUpper(data), 0o644))
			}
			r, err := (&ownCopy{}).release(t.Context(), src, c.version)
			if c.want != nil {
				if !errors.Is(err, c.want) {
					t.Errorf("error %v, want %v", err, c.want)
				}
				return
			}
			b.must(err)
			if r.Version != "7" || len(r.Files) != len(c.files) {
				t.Errorf("%+v", r)
			}
			have := map[string]string{}
			for _, f := range r.Files {
				for range 2 { // it is read more than once
					in, err := r.Open(f.Name)
					b.must(err)
					text, err := io.ReadAll(in)
					b.must(err)
					have[f.Name] = string(text)
				}
			}
			want := map[string]string{release.Shim: "shim", release.GRUB: "grub", release.Kernel: "kernel", release.Initrd: "initramfs", release.Site: "site"}
			if !maps.Equal(have, want) {
				t.Errorf("files %v, want %v", have, want)
			}
		})
	}
}

// A release on trial meets a server that speaks no protocol that it does: it starts Windows and is
// not kept, which is not held against it. The agent before it tries it again by itself once the
// server speaks one, and not before.
func TestAheadOfServer(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.protocol = protocol.Oldest - 1
	trial := selfboot.Trial{Version: "2", Copy: selfboot.B, From: "1"}
	state := func(s *selfboot.State) (kept selfboot.State) {
		b.withTarget(func(target *pcdisk.Target) {
			_, err := target.Admit()
			b.must(err)
			rec := &records{disk: &disk{target: target, admitted: true}}
			rec.recall()
			if s != nil {
				rec.Agent = *s
				b.must(rec.keep())
			}
			kept = rec.Agent
		})
		return kept
	}
	state(&selfboot.State{Trial: &trial})
	a := b.agent()
	a.own.trial = true
	if code := a.run(t.Context()); code != ExitUntouched || !b.handed || a.own.rec.Agent.Trial == nil {
		t.Fatalf("exit code %d, Windows was started: %t\n%s", code, b.handed, &b.out)
	}

	next, verdict, message := state(nil).Judge(&selfboot.Status{Running: selfboot.A, First: selfboot.A})
	if verdict != selfboot.TrialFailed || !strings.Contains(message, "too new for the server") {
		t.Errorf("%s, %q", verdict, message)
	}
	own := &ownCopy{rec: &records{}, failed: "2"}
	for _, own.rec.Agent = range []selfboot.State{next, state(&next), state(nil)} {
		for newest, want := range map[int]error{protocol.Oldest - 1: selfboot.ErrAhead, protocol.Oldest: nil} {
			if _, err := own.mayTry(&selfboot.Status{Running: selfboot.A}, &protocol.Order{Agent: "2", Newest: newest}); !errors.Is(err, want) {
				t.Errorf("a server that speaks protocol %d: %v, want %v", newest, err, want)
			}
		}
	}
}
