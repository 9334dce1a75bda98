package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"troy/internal/guid"
	"troy/internal/testing/needs"
	"troy/vhdx"
)

// bigRaw makes a raw image without holes, large enough that work on it can be interrupted.
func bigRaw(t *testing.T, dir string, size int) string {
	t.Helper()
	b := make([]byte, size)
	seeded(t).Read(b)
	path := filepath.Join(dir, "big.img")
	must(t, os.WriteFile(path, b, 0o644))
	return path
}

// soon calls f until it is true, for up to 20 s.
func soon(f func() bool) bool {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Microsecond) {
		if f() {
			return true
		}
	}
	return false
}

// attempts is how often an interruption is tried: on a busy machine the work may be done before the
// signal is there.
const attempts = 10

// TestVHDXInterruptedConvert sends real signals to the built command, while the new file is being
// written.
func TestVHDXInterruptedConvert(t *testing.T) {
	needs.Time(t)
	bin := filepath.Join(t.TempDir(), "troy")
	tool(t, "", "go", "build", "-o", bin, ".")
	src := bigRaw(t, t.TempDir(), 160<<20)
	for i, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		dir := t.TempDir()
		args := []string{"vhdx", "convert", "--to", "dynamic", src, filepath.Join(dir, "new.vhdx")}
		want, fate := []string{}, "was not made"
		if i == 1 { // a file that was there stays as it was
			args, want, fate = append(args, "--force"), []string{"new.vhdx"}, "is as it was"
			must(t, os.WriteFile(filepath.Join(dir, "new.vhdx"), []byte("mine"), 0o644))
		}
		if !interrupt(t, bin, args, dir, sig, fate) {
			t.Errorf("%v: the work was done before it could be interrupted, %d times", sig, attempts)
		}
		onlyFiles(t, dir, want...)
		if i == 1 {
			if b, err := os.ReadFile(filepath.Join(dir, "new.vhdx")); err != nil || string(b) != "mine" {
				t.Errorf("interrupted, the file there is %.20q, %v", b, err)
			}
		}
	}
}

// interrupt runs the program until a part file is in dir, and reports whether the signal came in
// time.
func interrupt(t *testing.T, bin string, args []string, dir string, sig syscall.Signal, fate string) bool {
	t.Helper()
	for range attempts {
		cmd := exec.Command(bin, args...)
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		must(t, cmd.Start())
		seen := soon(func() bool {
			m, _ := filepath.Glob(filepath.Join(dir, ".new.vhdx.*.part"))
			return len(m) > 0
		})
		must(t, cmd.Process.Signal(sig))
		cmd.Wait()
		if !seen {
			t.Fatalf("no part file was seen: %s", errOut.String())
		}
		if code := cmd.ProcessState.ExitCode(); code != exitOK {
			if code != exitFailed || !strings.Contains(errOut.String(), fate+"; run the command again") {
				t.Errorf("%v: exit code %d, want %d; it said %q", sig, code, exitFailed, errOut.String())
			}
			return true
		}
		must(t, os.Remove(filepath.Join(dir, "new.vhdx")))
	}
	return false
}

// TestVHDXInterruptedMerge stops a merge half way, looks at both files, and runs it again.
func TestVHDXInterruptedMerge(t *testing.T) {
	dir := t.TempDir()
	parent, child := filepath.Join(dir, "parent.vhdx"), filepath.Join(dir, "child.vhdx")
	raw := bigRaw(t, t.TempDir(), 96<<20)
	model, err := os.ReadFile(raw)
	must(t, err)
	want := sum(model)
	for range attempts {
		wantVHDX(t, 0, "create", "--force", "--size", "96M", "--type", "fixed", parent)
		wantVHDX(t, 0, "create", "--force", "--parent", parent, child)
		fill(t, child, parent, model)
		r := cancelMerge(t, child, parent)
		if r.code == exitOK {
			continue
		}
		if r.code != exitFailed || !strings.Contains(r.errOut, "is partly merged and needs") {
			t.Errorf("an interrupted merge: exit code %d, said %q", r.code, r.errOut)
		}
		if got := diskSum(t, child); got != want {
			t.Errorf("half way the child shows md5 %s, want %s", got, want)
		}
		if got := diskSum(t, parent); got == want {
			t.Error("half way the parent shows all of the child")
		}
		wantVHDX(t, 0, "merge", child)
		if got := diskSum(t, parent); got != want {
			t.Errorf("after the second run the parent shows md5 %s, want %s", got, want)
		}
		wantVHDX(t, 0, "check", parent, child)
		return
	}
	t.Errorf("the merge was done before it could be interrupted, %d times", attempts)
}

// fill writes all of model into a child.
func fill(t *testing.T, child, parent string, model []byte) {
	t.Helper()
	c, err := vhdx.OpenChain(child, &vhdx.ChainOptions{Writable: true, Parents: &vhdx.Parents{Named: []string{parent}}})
	must(t, err)
	_, err = c.WriteAt(model, 0)
	must(t, err)
	must(t, c.Close())
}

// cancelMerge cancels a merge once the parent has its new identity.
func cancelMerge(t *testing.T, child, parent string) result {
	t.Helper()
	before, err := identity(parent)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		soon(func() bool {
			now, err := identity(parent)
			return err == nil && now != before
		})
		cancel()
	}()
	return troyVHDXContext(ctx, "merge", child)
}

func identity(path string) (guid.GUID, error) {
	f, err := os.Open(path)
	if err != nil {
		return guid.GUID{}, err
	}
	defer f.Close()
	h, _, err := vhdx.ReadHeaders(f)
	if err != nil {
		return guid.GUID{}, err
	}
	return h.DataWriteGUID, nil
}
