package selfboot

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"troy/chainload"
	"troy/chainload/efiboot"
	"troy/chainload/esp"
	"troy/chainload/release"
	"troy/internal/testing/efitest"
)

// keeps calls Fallback, and says what the file that firmware starts is then.
func (m *machine) keeps(t testing.TB, written bool) string {
	t.Helper()
	got, err := Fallback(t.Context(), m.Options)
	if err != nil || got != written {
		t.Fatalf("written %v, %v; want %v", got, err, written)
	}
	return m.content(t, "EFI/BOOT/BOOTX64.EFI")
}

func (m *machine) content(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(m.find(name))
	must(t, err)
	return string(b)
}

// With an agent from a stick nothing is written: it has not been seen to start from the ESP.
func TestFallback(t *testing.T) {
	m := newMachine(t)
	windows := m.keeps(t, false)
	m.install(t, newRelease("1"))
	if m.keeps(t, false) != windows {
		t.Error("written by an agent that was started from a stick")
	}
	m.boot(t)
	if m.keeps(t, true) != m.content(t, "EFI/Troy/a/"+release.Shim) || m.content(t, "EFI/BOOT/grubx64.efi") != m.content(t, "EFI/Troy/a/"+release.GRUB) {
		t.Error("shim and GRUB are not those of the copy that runs")
	}
	m.keeps(t, false)
	left := m.files(t)
	maps.DeleteFunc(left, func(name, _ string) bool {
		return strings.HasPrefix(strings.ToLower(name), "efi/troy/") || strings.HasPrefix(name, "efi/BOOT/")
	})
	maps.DeleteFunc(m.others, func(name, _ string) bool { return strings.HasPrefix(name, "efi/BOOT/") })
	if !maps.Equal(left, m.others) {
		t.Error("other files changed")
	}
	// Somebody puts another file there: bcdboot does.
	must(t, os.WriteFile(m.find("EFI/BOOT/BOOTX64.EFI"), []byte(windows), 0o600))
	m.keeps(t, true)
	// The firmware loses everything.
	if path := m.fallback(t); path != pathA {
		t.Fatalf("boots %s", path)
	}
	own, err := Ensure(t.Context(), m.Options)
	if err != nil || own.Copy != A || !own.Running || own.Entry == nil {
		t.Fatalf("%+v, %v", own, err)
	}
	if o, err := efiboot.ParseLoadOption(m.fw.Vars[efiboot.Name(*own.Entry)]); err != nil || !o.Starts(m.ESP.GUID, pathA) || o.Description != "Troy" {
		t.Errorf("%+v, %v", o, err)
	}
}

// A newer release brings its shim and GRUB there once it is confirmed, and a copy that is being
// written is passed over.
func TestFallbackRenewed(t *testing.T) {
	m := newMachine(t)
	m.install(t, newRelease("1"))
	m.boot(t)
	m.keeps(t, true)
	m.others = m.files(t)
	var s State
	next, err := Update(t.Context(), m.Options, s, newRelease("2"))
	must(t, err)
	_, err = Arm(m.Options, next.Trial)
	must(t, err)
	m.boot(t)
	_, err = Confirm(m.Options, next)
	must(t, err)
	if m.keeps(t, true) != m.content(t, "EFI/Troy/b/"+release.Shim) {
		t.Error("the shim of the older release stays")
	}
	if path := m.fallback(t); path != pathB {
		t.Errorf("boots %s", path)
	}
	must(t, os.Remove(m.find("EFI/Troy/b/manifest.json")))
	if path := m.fallback(t); path != pathA {
		t.Errorf("copy b is not whole: boots %s", path)
	}
	must(t, os.Remove(m.find("EFI/Troy/a/manifest.json")))
	if path := m.fallback(t); path != "windows" {
		t.Errorf("no copy is whole: boots %s", path)
	}
}

// As long as the firmware may need it, it is not written; nor where it is another system's.
func TestFallbackRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m *machine)
		want   error
	}{
		"no entry of the copy":      {func(m *machine) { delete(m.fw.Vars, "Boot0002") }, ErrNotReady},
		"it is not in the order":    {func(m *machine) { m.fw.Vars["BootOrder"] = efitest.Words(0, 1) }, ErrNotReady},
		"no entry of Windows":       {func(m *machine) { delete(m.fw.Vars, "Boot0000") }, ErrNotReady},
		"Windows is switched off":   {func(m *machine) { m.fw.Vars["Boot0000"][0] = 0 }, ErrNotReady},
		"another system's shim":     {func(m *machine) { os.WriteFile(filepath.Join(m.ESPDir, "efi/BOOT/fbx64.efi"), nil, 0o600) }, ErrOthers},
		"rot in the copy":           {func(m *machine) { os.WriteFile(m.find("EFI/Troy/a/"+release.Shim), make([]byte, 10_000), 0o600) }, ErrSource},
		"rot in the copy's GRUB":    {func(m *machine) { os.Truncate(m.find("EFI/Troy/a/"+release.GRUB), 1) }, ErrSource},
		"the manifest is not there": {func(m *machine) { os.Remove(m.find("EFI/Troy/a/manifest.json")) }, ErrNoCopy},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.install(t, newRelease("1"))
			m.boot(t)
			c.change(m)
			before := m.files(t)
			written, err := Fallback(t.Context(), m.Options)
			if written || !errors.Is(err, c.want) || strings.Contains(err.Error(), "\n") || !maps.Equal(before, m.files(t)) {
				t.Errorf("written %v, %v", written, err)
			}
		})
	}
}

// Wherever the writing stops, the file that the firmware starts is the old one: it comes last. The
// next start finishes, and leaves nothing behind.
func TestFallbackStopsAnywhere(t *testing.T) {
	for _, name := range []string{configName, configName + suffixNew, release.GRUB, release.GRUB + suffixNew, esp.FallbackName + suffixNew} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.install(t, newRelease("1"))
			m.boot(t)
			old, inTheWay := m.content(t, "EFI/BOOT/BOOTX64.EFI"), filepath.Join(m.ESPDir, "efi/BOOT", name)
			must(t, os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700)) // no file can be put there
			if _, err := Fallback(t.Context(), m.Options); !errors.Is(err, chainload.ErrESP) || !strings.Contains(err.Error(), name) {
				t.Fatal(err)
			}
			if m.content(t, "EFI/BOOT/BOOTX64.EFI") != old {
				t.Error("the file that firmware starts is new, and not all that it needs")
			}
			must(t, os.RemoveAll(inTheWay))
			m.keeps(t, true)
			for file := range m.files(t) {
				if strings.HasSuffix(file, suffixNew) {
					t.Errorf("%s is left", file)
				}
			}
		})
	}
}

// An agent from a stick gives the place to the copy that is there, not to the stick: the one that
// comes first, if it is whole.
func TestEnsureFromStick(t *testing.T) {
	m := newMachine(t)
	if own, err := Ensure(t.Context(), m.Options); own != nil || err != nil {
		t.Errorf("no copy: %+v, %v", own, err)
	}
	m.install(t, newRelease("1"))
	m.install(t, newRelease("2"))
	m.fw.Vars["BootOrder"] = efitest.Words(0, 3, 2, 1) // Windows put itself first
	is := func(want Copy, entry uint16) {
		t.Helper()
		own, err := Ensure(t.Context(), m.Options)
		if err != nil || own == nil || own.Running || own.Copy != want || *own.Entry != entry {
			t.Errorf("%+v, %v; want copy %s", own, err, want)
		}
	}
	is(B, 3)
	must(t, os.Remove(m.find("EFI/Troy/b/"+release.Kernel)))
	is(A, 2)
	delete(m.fw.Vars, "Boot0002")
	is(A, 2)
	delete(m.fw.Vars, "Boot0002")
	m.fw.Refuse["Boot0002"] = syscall.ENOSPC
	if own, err := Ensure(t.Context(), m.Options); own == nil || own.Entry != nil || !errors.Is(err, chainload.ErrFirmware) {
		t.Errorf("%+v, %v", own, err)
	}
}
