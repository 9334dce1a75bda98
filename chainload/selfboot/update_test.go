package selfboot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"syscall"
	"testing"

	"troy/chainload"
	"troy/chainload/release"
	"troy/internal/format"
	"troy/internal/testing/efitest"
)

// start judges and keeps the state as JSON, as the agent does.
func start(t *testing.T, m *machine, s *State) Verdict {
	t.Helper()
	next, v, message := s.Judge(m.inspect(t))
	b, err := json.Marshal(next)
	must(t, err)
	*s, err = ParseState(b)
	must(t, err)
	if (v == OnTrial || v == TrialFailed) != (message != "") {
		t.Errorf("%s says %q", v, message)
	}
	return v
}

func update(t *testing.T, m *machine, s *State, version string) {
	t.Helper()
	next, err := Update(t.Context(), m.Options, *s, newRelease(version))
	must(t, err)
	*s = next
	m.othersUntouched(t)
}

func TestUpdateConfirmed(t *testing.T) {
	m := newMachine(t)
	m.install(t, newRelease("1"))
	m.boot(t)
	var s State
	for i, to := range []string{"2", "3", "4"} {
		running := []Copy{A, B, A}[i]
		update(t, m, &s, to)
		if s.Trial.Version != to || s.Trial.Copy != running.other() || s.Trial.From != fmt.Sprint(i+1) || m.inspect(t).First != running {
			t.Fatalf("%+v", s.Trial)
		}
		if by, err := Arm(m.Options, s.Trial); err != nil || by != chainload.ByBootNext {
			t.Fatal(by, err)
		}
		if _, err := Update(t.Context(), m.Options, s, newRelease("9")); !errors.Is(err, ErrTrial) {
			t.Errorf("during a trial: %v", err)
		}
		m.boot(t)
		if v := start(t, m, &s); v != OnTrial || m.inspect(t).First != running {
			t.Fatalf("%s: the old copy has to stay first until the new one is confirmed", v)
		}
		// Until then a power cut leads back to the old one; that is TestUpdateFails.
		var err error
		if s, err = Confirm(m.Options, s); err != nil || s.Trial != nil {
			t.Fatal(s, err)
		}
		m.boot(t)
		if st := m.inspect(t); start(t, m, &s) != NoTrial || st.First != running.other() || st.Running != st.First || st.Copies[st.First].Version != to {
			t.Errorf("%+v", st)
		}
	}
	if _, err := Update(t.Context(), m.Options, s, newRelease("4")); !errors.Is(err, ErrCurrent) {
		t.Error(err)
	}
}

func TestUpdateFails(t *testing.T) {
	m := newMachine(t)
	m.install(t, newRelease("1"))
	m.boot(t)
	var s State
	update(t, m, &s, "2")
	_, err := Arm(m.Options, s.Trial)
	must(t, err)
	if path := m.boot(t); path != pathB {
		t.Fatalf("boots %s", path)
	}
	if path := m.boot(t); path != pathA { // it hung, and was switched off
		t.Fatalf("boots %s", path)
	}
	if _, err := Confirm(m.Options, s); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("the old agent confirms the new one: %v", err)
	}
	if v := start(t, m, &s); v != TrialFailed || s.Trial != nil {
		t.Fatalf("%s, %+v", v, s)
	}
	before := m.files(t)
	if _, err := Update(t.Context(), m.Options, s, newRelease("2")); !errors.Is(err, ErrFailedBefore) || !maps.Equal(before, m.files(t)) {
		t.Error(err)
	}
	update(t, m, &s, "3")
	s.Trial = nil
	s = s.Forget("2")
	update(t, m, &s, "2")
}

func TestUpdateByGRUB(t *testing.T) {
	m := newMachine(t)
	m.install(t, newRelease("1"))
	m.boot(t)
	var s State
	update(t, m, &s, "2")
	m.fw.Refuse["BootNext"] = syscall.EROFS
	if by, err := Arm(m.Options, s.Trial); err != nil || by != chainload.ByGRUB {
		t.Fatal(by, err)
	}
	m.boot(t)
	if v := start(t, m, &s); v != OnTrial {
		t.Fatal(v)
	}
	s, err := Confirm(m.Options, s)
	must(t, err)
	if path := m.boot(t); path != pathB {
		t.Errorf("boots %s", path)
	}
	// Nothing can start the trial: it is said, and nothing is changed.
	update(t, m, &s, "3")
	m.fw.Vars["BootOrder"] = efitest.Words(0, 3, 2)
	if _, err := Arm(m.Options, s.Trial); !errors.Is(err, chainload.ErrFirmware) || !errors.Is(err, syscall.EROFS) {
		t.Error(err)
	}
}

func TestUpdateNeedsInstallation(t *testing.T) {
	m := newMachine(t)
	m.install(t, newRelease("1")) // the stick still runs
	if _, err := Update(t.Context(), m.Options, State{}, newRelease("2")); !errors.Is(err, ErrNotInstalled) {
		t.Error(err)
	}
	s := State{Trial: &Trial{Version: "2", Copy: B}}
	if _, v, _ := s.Judge(m.inspect(t)); v != TrialOpen {
		t.Error(v)
	}
}

// Cut at every file and every few bytes: the copy that is first stays whole,
// the other is never taken for whole, and the next try finishes.
func TestUpdateCutAnywhere(t *testing.T) {
	m := newMachine(t)
	m.install(t, newRelease("1"))
	m.boot(t)
	good := m.files(t)
	for cut := 0; cut < 4; cut++ {
		for _, at := range []int64{0, 1, 20} {
			r := newRelease("2")
			open, opened := r.Open, map[string]int{}
			r.Open = func(name string) (io.ReadCloser, error) {
				f, err := open(name)
				opened[name]++
				// At first it is only checked, GRUB also for what it reads.
				if name == r.Files[cut].Name && (opened[name] > 2 || opened[name] == 2 && name != release.GRUB) {
					f = io.NopCloser(io.MultiReader(io.LimitReader(f, at), failing{}))
				}
				return f, err
			}
			_, err := Update(t.Context(), m.Options, State{}, r)
			if !errors.Is(err, syscall.EIO) || !errors.Is(err, chainload.ErrESP) {
				t.Fatalf("file %d at %d: %v", cut, at, err)
			}
			st := m.inspect(t)
			if st.Copies[A].Problem != nil || st.Copies[B].Problem == nil || st.Copies[B].Version != "" || m.boot(t) != pathA {
				t.Fatalf("file %d at %d: %+v", cut, at, st)
			}
			for name, content := range good {
				if m.files(t)[name] != content {
					t.Fatalf("%s changed", name)
				}
			}
		}
	}
	var s State
	update(t, m, &s, "2")
	if st := m.inspect(t); st.Copies[B].Problem != nil || st.Copies[B].Version != "2" {
		t.Errorf("%+v", st)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, syscall.EIO }

func TestCancelled(t *testing.T) {
	m := newMachine(t)
	m.install(t, newRelease("1"))
	m.boot(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := m.files(t)
	if _, err := Update(ctx, m.Options, State{}, newRelease("2")); !errors.Is(err, context.Canceled) || !maps.Equal(before, m.files(t)) {
		t.Error(err)
	}
}

func TestParseState(t *testing.T) {
	for _, bad := range []string{"x", `[]`, `{"trial":{"copy":"c"}}`, `{"trial":{"entry":70000}}`} {
		if s, err := ParseState([]byte(bad)); err == nil || s.Trial != nil {
			t.Errorf("%s: %+v, %v", bad, s, err)
		}
	}
	const newer = `{"trial":{"version":"2","copy":"b","entry":7,"from":"1","new":1},"more":2}`
	s, err := ParseState([]byte(newer))
	if b, merr := format.Marshal(s); err != nil || merr != nil || string(b) != newer {
		t.Errorf("%s, %v, %v", b, err, merr)
	}
	if s, err := ParseState(nil); err != nil || s.Trial != nil {
		t.Error(s, err)
	}
	many := State{}
	for i := range 3 * maxFailed {
		many.Trial = &Trial{Version: fmt.Sprint(i), Copy: B}
		many, _, _ = many.Judge(&Status{Running: A, Copies: map[Copy]CopyState{}})
	}
	if len(many.Failed) != maxFailed || many.Failed[0].Version != fmt.Sprint(2*maxFailed) {
		t.Errorf("%v", many.Failed)
	}
}
