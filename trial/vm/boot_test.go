package vm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"troy/internal/testing/guest"
)

// What real starts say, each line some time after the one before, in a time of the test's own.
func TestBootWatch(t *testing.T) {
	type said struct {
		after time.Duration
		line  string
	}
	const never = 0
	stick := []said{
		{50 * time.Second, `BdsDxe: loading Boot0001 "UEFI QEMU USB" from PciRoot(0x0)`},
		{0, `BdsDxe: starting Boot0001 "UEFI QEMU USB" from PciRoot(0x0)`},
		{6 * time.Second, "Welcome to GRUB!"}, {0, ""}, {0, "Troy: loading from this medium"},
	}
	pxe := []said{
		{15 * time.Second, ">>Start PXE over IPv4."},
		{time.Hour, "  NBP filename is snponly.efi"},
		{0, `BdsDxe: starting Boot0001 "UEFI PXEv4" from PciRoot(0x0)`},
		{time.Second, "iPXE initialising devices...ok"},
		{time.Hour, "troy/vmlinuz... ok"}, {time.Hour, "troy/initramfs.cpio.zst... ok"},
	}
	agent := said{30 * time.Second, "2026/11/30 04:13:34 Welcome to u-root!"}
	stall := said{26 * time.Second, "[   26.000000] rcu: INFO: rcu_sched detected stalls on CPUs:"}
	begins := said{50 * time.Second, "[    0.000000] Linux version 6.12"}
	stub := said{9 * time.Second, "EFI stub: Loaded initrd"}
	panics := said{time.Second, "[    1.394398] Kernel panic - not syncing: VFS"}
	reset := []said{agent, {time.Hour, "deploy: resetting"}, stick[1]}
	alone, uefi := Config{Kernel: "k"}, Config{Firmware: &Firmware{}}
	for name, c := range map[string]struct {
		config Config
		lines  []said
		hung   time.Duration // since the last line; never = it works
		clean  bool
	}{
		"kernel":               {alone, []said{agent}, never, false},
		"silent kernel":        {alone, nil, time.Minute, true},
		"impatient":            {Config{Kernel: "k", InitLimit: time.Second}, nil, time.Second, true},
		"kernel that stalls":   {alone, []said{stall}, 34 * time.Second, true},
		"talking kernel":       {alone, []said{begins}, time.Minute, true},
		"panic":                {alone, []said{panics}, never, true},
		"warning of QEMU":      {alone, []said{{0, "qemu-system-x86_64: warning: x"}}, time.Minute, true},
		"firmware, kernel":     {Config{Kernel: "k", Firmware: &Firmware{}}, nil, 90 * time.Second, true},
		"silent firmware":      {uefi, nil, 90 * time.Second, true},
		"nothing to boot":      {Config{}, nil, never, true},
		"stick":                {uefi, append(stick, agent), never, false},
		"silent stick":         {uefi, stick, 90 * time.Second, true},
		"stick's stub":         {uefi, append(stick, stub), time.Minute, true},
		"PXE":                  {uefi, append(pxe, agent), never, false},
		"silent PXE":           {uefi, pxe, 90 * time.Second, false},
		"silent after a reset": {uefi, reset, 90 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBootWatch(&c.config)
				hung, last := time.Duration(never), time.Now()
				b.begin(func() { hung = time.Since(last) })
				for _, l := range c.lines {
					time.Sleep(l.after)
					synctest.Wait()
					if hung != never {
						t.Fatalf("hung before %q", l.line)
					}
					last = time.Now()
					b.line(l.line)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				if hung != c.hung || b.repeatable() != c.clean {
					t.Errorf("hung after %v, repeatable %v; want %v, %v", hung, b.repeatable(), c.hung, c.clean)
				}
				b.end()
			})
		})
	}
}

// kernel is the kernel of the tests.
func kernel(t *testing.T) string {
	t.Helper()
	k := os.Getenv("KERNEL")
	if k == "" {
		t.Fatal("KERNEL must be set (make deps fetches it)")
	}
	return k
}

// hello is a PC whose init says one line and powers off.
func hello(t *testing.T, args string) *Config {
	t.Helper()
	c := &Config{Dir: t.TempDir(), Kernel: kernel(t), NoReboot: true,
		Cmdline: "console=ttyS0 quiet panic=-1 " + args}
	c.Initrd = filepath.Join(c.Dir, "initrd")
	o := &guest.Options{Program: "troy/internal/testing/vmlab/hello", Modules: os.Getenv("MODULES"), Out: c.Initrd}
	err := guest.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// qemuBy makes a shell script what is run in place of QEMU; $qemu is the true one, $try counts
// from 1. tries has an x for each.
func qemuBy(t *testing.T, script string) (tries func() string) {
	t.Helper()
	dir := t.TempDir()
	path, count := filepath.Join(dir, "qemu"), filepath.Join(dir, "tries")
	script = "#!/bin/sh\nqemu=" + orDefault(os.Getenv(envQEMU), "qemu-system-x86_64") +
		"\necho x >> " + count + "\ntry=$(wc -l < " + count + ")\n" + script
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv(envQEMU, path)
	return func() string {
		b, _ := os.ReadFile(count) // no file is no try
		return strings.ReplaceAll(string(b), "\n", "")
	}
}

const onceMore = "STARTED ONCE MORE"

// A guest whose init never says a word is told apart from one that takes long, after a second try.
func TestHungBeforeInit(t *testing.T) {
	tries := qemuBy(t, `exec $qemu "$@"`)
	c := hello(t, "silent")
	c.InitLimit = 6 * time.Second
	v, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := v.Expect(t.Context(), "HELLO"); !errors.Is(err, ErrHungBeforeInit) {
		t.Errorf("Expect = %v, want %v", err, ErrHungBeforeInit)
	}
	if err := v.Wait(t.Context()); !errors.Is(err, ErrHungBeforeInit) {
		t.Errorf("Wait = %v, want %v", err, ErrHungBeforeInit)
	}
	if n := strings.Count(v.Log(), onceMore); n != 1 || tries() != "xx" {
		t.Errorf("%d notes, tries %q; want one second try:\n%s", n, tries(), v.Log())
	}
}

// The first QEMU never lets its processors run; the second start is as good as any.
func TestSecondTry(t *testing.T) {
	// graphics=off: SeaBIOS says a line within a second, and from there on all takes its time.
	tries := qemuBy(t, `[ $try -gt 1 ] || set -- "$@" -S
exec $qemu "$@" -machine graphics=off`)
	c := hello(t, "")
	c.InitLimit = 10 * time.Second
	v, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := v.Expect(t.Context(), onceMore+`(?s).*HELLO: here I am\n`); err != nil {
		t.Fatal(err)
	}
	if err := v.Wait(t.Context()); err != nil || tries() != "xx" {
		t.Errorf("Wait = %v after tries %q, want two", err, tries())
	}
}

// The second start finds the firmware's variables as the first one did, not as that left them.
func TestSecondTryHasTheSameVariables(t *testing.T) {
	f, err := FindFirmware()
	if err != nil {
		t.Fatal(err)
	}
	c := &Config{Dir: t.TempDir(), Firmware: f, Kernel: kernel(t), InitLimit: time.Second}
	vars := filepath.Join(c.Dir, "vm.vars.fd")
	tries := qemuBy(t, `if [ $try = 1 ]; then
	echo BootNext | dd conv=notrunc status=none of=`+vars+`
	exec $qemu "$@" -S
fi
echo here I am`)
	v, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := v.Wait(t.Context()); err != nil || tries() != "xx" {
		t.Errorf("Wait = %v after tries %q, want two", err, tries())
	}
	got, errGot := os.ReadFile(vars)
	want, errWant := os.ReadFile(f.Vars)
	if err := errors.Join(errGot, errWant); err != nil || string(got) != string(want) {
		t.Errorf("the variables are not those of the start (%v)", err)
	}
}

// A start that has talked to others is not tried again: their side of it happened.
func TestNoSecondTryAfterTheNetwork(t *testing.T) {
	tries := qemuBy(t, `echo '>>Start PXE over IPv4.'; echo 'BdsDxe: starting Boot0001 "UEFI PXEv4"'
exec $qemu "$@" -S`)
	v, err := Start(t.Context(), &Config{Dir: t.TempDir(), Kernel: kernel(t), InitLimit: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := v.Wait(t.Context()); !errors.Is(err, ErrHungBeforeInit) || tries() != "x" {
		t.Errorf("Wait = %v after tries %q, want %v after one", err, tries(), ErrHungBeforeInit)
	}
}
