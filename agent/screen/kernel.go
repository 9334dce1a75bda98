package screen

import (
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"troy/agent/page"
)

// largeFont is the kernel's own font of twice the size of the usual one.
const largeFont = "TER16x32"

// fontOperation is console_font_op of <linux/kd.h>.
type fontOperation struct {
	op, flags, width, height, count uint32
	_                               uint32
	data                            unsafe.Pointer
}

// enlarge takes the large font where the page still fits. Text modes of VGA have no other font, and
// are large as they are.
func enlarge(fd int, size func() (columns, rows int)) {
	const kdFontOp, setDefault = 0x4b72, 2
	if columns, rows := size(); columns < 2*page.Width || rows < 2*page.Height {
		return
	}
	name := append([]byte(largeFont), 0)
	op := fontOperation{op: setDefault, data: unsafe.Pointer(&name[0])}
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), kdFontOp, uintptr(unsafe.Pointer(&op))) // else small
	runtime.KeepAlive(name)
}

// Console is a console of the kernel, as /proc/consoles has it.
type Console struct {
	Name   string
	First  bool // it is /dev/console
	Screen bool // it is a virtual terminal
}

// Consoles are those that the kernel has.
func Consoles() []Console {
	b, _ := os.ReadFile("/proc/consoles") // a kernel without it has none
	return parse(string(b))
}

func parse(text string) []Console {
	var all []Console
	for l := range strings.Lines(text) {
		name, rest, _ := strings.Cut(l, " ")
		flags, device, ok := strings.Cut(rest, "(")
		inner, number, ok2 := strings.Cut(device, ")")
		major, minor, ok3 := strings.Cut(strings.TrimSpace(number), ":")
		n, err := strconv.Atoi(minor)
		if !ok || !ok2 || !ok3 || err != nil || !strings.Contains(flags, "W") || !strings.Contains(inner, "E") || strings.Contains(name, "/") {
			continue
		}
		all = append(all, Console{Name: name, First: strings.Contains(inner, "C"), Screen: major == "4" && n < 64})
	}
	return all
}

// LinesTo is where lines go on a machine whose screen is for pages, or that has none: to /dev/console
// unless that is the screen, then to another console, else to the screen's second terminal.
func LinesTo(all []Console) string {
	to := "/dev/console" // the kernel tells nothing
	for _, c := range all {
		switch {
		case c.First && !c.Screen:
			return "/dev/console"
		case c.Screen && to == "/dev/console":
			to = "/dev/tty2"
		case !c.Screen && (to == "/dev/tty2" || to == "/dev/console"):
			to = "/dev/" + c.Name
		}
	}
	return to
}

// Visible tells whether the machine has a screen: a driver of the kernel shows its terminals.
func Visible() bool { return visible(os.DirFS("/sys/class/vtconsole")) }

func visible(drivers fs.FS) bool {
	all, _ := fs.Glob(drivers, "*")
	return slices.ContainsFunc(all, func(dir string) bool {
		name, _ := fs.ReadFile(drivers, dir+"/name")
		bind, _ := fs.ReadFile(drivers, dir+"/bind")
		return strings.TrimSpace(string(bind)) == "1" && !strings.Contains(string(name), "dummy")
	})
}

// Hush has the kernel say nothing but that it dies, if the screen is one of its consoles.
func Hush(all []Console) {
	for _, c := range all {
		if c.Screen {
			const setLevel, onlyEmergencies = 8, 1
			_, _ = unix.Klogctl(setLevel, make([]byte, onlyEmergencies)) // the level is the length
		}
	}
}
