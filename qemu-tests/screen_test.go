package qemutests

import (
	"context"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/internal/testing/testlab"
	"troy/internal/testing/vmlab"
)

// screenRoom has a rate at which the work takes long enough for two pictures: each machine gets a
// thousandth of it.
const screenRoom = `merge: now, bandwidth: 40000, contact: "Anna, room 101, tel. 4711"`

// withScreen starts a PC as PXE does, with a screen that is a console of the kernel, too. A reset
// stops it, and its screen stays.
func withScreen(t *testing.T, pc *testlab.PC, args ...string) *vmlab.VM {
	t.Helper()
	c, err := pc.KernelConfig(strings.Join(append(args, "console=tty0 console=ttyS0", lineServer), " "))
	if err != nil {
		t.Fatal(err)
	}
	c.Args = append(append(c.Args, vmlab.Screen...), "-no-shutdown")
	m, err := vmlab.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	if _, err := m.Expect(t.Context(), "deploy: disk: "); err != nil {
		t.Fatalf("%v\n%s", err, m.Log())
	}
	return m
}

// between is the time between two looks at a screen: QEMU does nothing else while it takes a picture.
const between = 200 * time.Millisecond

// seen reads the screen until it shows all these words, and returns the picture and what it shows.
func seen(t *testing.T, m *vmlab.VM, words ...string) (*image.RGBA, []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		img, err := m.Screenshot(ctx)
		if err != nil {
			t.Fatalf("%v\n%s", err, m.Log())
		}
		lines, err := vmlab.Text(img)
		if err != nil {
			t.Fatal(err)
		}
		if holdsAll(strings.Join(lines, "\n"), words) {
			return img, lines
		}
		if ctx.Err() != nil {
			t.Fatalf("the screen does not show %q:\n%s\n%s", words, strings.Join(lines, "\n"), m.Log())
		}
		time.Sleep(between)
	}
}

func holdsAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// bar is the line of the bar, and its place.
func bar(t *testing.T, lines []string) (at, full int) {
	t.Helper()
	for i, l := range lines {
		if strings.HasSuffix(l, "%") {
			return i, strings.Count(l, "█")
		}
	}
	t.Fatalf("no bar:\n%s", strings.Join(lines, "\n"))
	return 0, 0
}

// The PC's screen shows one page, in few colours, nothing of the kernel or of u-root, and nothing
// scrolls: while it works, a bar that grows; with a fault, what a person on the telephone asks for.
func TestScreen(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; the demo shows a screen, too")
		return
	}
	pc, server := start(t, "screen", screenRoom)
	m := withScreen(t, pc)
	img, before := seen(t, m, "room default", "Fetching version 2", "MB/s", "Windows starts")
	keep(t, "screen-working.png", img)
	at, full := bar(t, before)
	if full == 0 {
		at, full = bar(t, before)
	}
	for {
		_, now := seen(t, m, "room default")
		if !strings.Contains(strings.Join(now, "\n"), "Fetching") {
			t.Fatalf("the bar has not grown:\n%s", strings.Join(before, "\n"))
		}
		place, more := bar(t, now)
		if place != at || more < full {
			t.Fatalf("the bar was in line %d, %d long, and is in line %d, %d long", at, full, place, more)
		}
		if more > full {
			break
		}
	}
	calmScreen(t, img, before)
	if _, err := m.Expect(t.Context(), "deploy: restarting into Windows"); err != nil {
		t.Fatal(err)
	}
	m.Kill()
	if _, err := server.Stop(); err != nil {
		t.Fatal(err)
	}

	// Without a server, and by the key of the keyboard.
	m = withScreen(t, pc)
	seen(t, m, "Asking the server", "left at most", "W: start Windows now")
	if err := m.Press(t.Context(), "w"); err != nil {
		t.Fatal(err)
	}
	img, lines := seen(t, m, "The server was not reached", "the key W was pressed", "It was not changed", "Call     Anna, room 101, tel. 4711", "serial", "52:54:00")
	keep(t, "screen-fault.png", img)
	calmScreen(t, img, lines)
}

// R throws a session away, in a room that allows it, also where no server answers. A kernel that
// dies says so on the screen, over the page.
func TestScreenKeyAndPanic(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; package agent tries the key without a machine")
		return
	}
	l := smallLab(t, "")
	server, err := l.Serve(t.Context(), testlab.Room{Version: 2, Keys: "merge: now, reset: key"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	pc, err := l.NewPC(t.Context(), "key")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(pc.Disk) })
	toWindows(t, pc, lineServer)
	want := filepath.Join(t.TempDir(), "want.raw")
	copyFile(t, l.Windows.V2, want)
	endSession(t, pc, true)
	server.Stop()

	m := withScreen(t, pc)
	seen(t, m, "Asking the server", "R: throw away this session")
	if err := m.Press(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	seen(t, m, "R was pressed: this session is thrown away")
	for _, line := range []string{"the machine is reset to version 2", "restarting into Windows"} {
		if _, err := m.Expect(t.Context(), line); err != nil {
			t.Fatalf("%v\n%s", err, m.Log())
		}
	}
	m.Kill()
	holds(t, pc, want, "boot.vhdx", "base.vhdx")

	m = withScreen(t, pc, "unknown_nmi_panic")
	seen(t, m, "Asking the server")
	if err := m.Interrupt(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen(t, m, "Kernel panic - not syncing")
}

// calmScreen fails unless a page, and nothing else, is on the screen.
func calmScreen(t *testing.T, img *image.RGBA, lines []string) {
	t.Helper()
	if n := vmlab.Colours(img); n < 3 || n > 8 {
		t.Errorf("%d colours", n)
	}
	const first, last = (48 - 25) / 2, (48-25)/2 + 25
	for i, l := range lines {
		if i == 0 && strings.Contains(l, "reboot: Restarting system") {
			continue // the kernel's last word
		}
		if (i < first || i >= last) && l != "" || strings.Contains(l, "?") || strings.Contains(l, "u-root") || strings.Contains(l, "deploy:") {
			t.Errorf("line %d: %q", i, l)
		}
	}
	if t.Failed() {
		t.Logf("the screen:\n%s", strings.Join(lines, "\n"))
	}
}

// keep writes a picture for docs, if TROY_UPDATE is set.
func keep(t *testing.T, name string, img image.Image) {
	t.Helper()
	if os.Getenv("TROY_UPDATE") == "" {
		return
	}
	f, err := os.Create(filepath.Join("..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	e := png.Encoder{CompressionLevel: png.BestCompression}
	if err := e.Encode(f, img); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
