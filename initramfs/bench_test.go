package initramfs

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"troy/trial/vm"
)

var uptimeLine = regexp.MustCompile(`PROBE: uptime ([0-9.]+)`)

// BenchmarkStart measures the seconds from the kernel's start to the agent's (a stand-in), and the
// size of the initramfs with the true agent. QEMU starts the kernel itself: firmware and loading
// are not in it.
func BenchmarkStart(b *testing.B) {
	o, out := options(b, ""), filepath.Join(b.TempDir(), "probe.zst")
	o.program = agentProgram
	info, err := buildInitramfs(b.Context(), o, out)
	if err != nil {
		b.Fatal(err)
	}
	o.program = probe
	if _, err := buildInitramfs(b.Context(), o, out); err != nil {
		b.Fatal(err)
	}
	var seconds float64
	for b.Loop() {
		seconds += secondsToAgent(b, o.Kernel, out)
	}
	b.ReportMetric(seconds/float64(b.N), "s-to-agent")
	b.ReportMetric(float64(info.Size)/1e6, "MB-initramfs")
	b.ReportMetric(float64(len(info.Modules)), "drivers")
	b.ReportMetric(0, "ns/op")
}

func secondsToAgent(b *testing.B, kernel, initrd string) float64 {
	b.Helper()
	m, err := vm.Start(b.Context(), &vm.Config{Dir: b.TempDir(), Kernel: kernel, Initrd: initrd, Cmdline: "console=ttyS0 quiet", NoReboot: true, Timeout: 2 * time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	line, err := m.Expect(b.Context(), uptimeLine.String()+` .*\n`)
	if err != nil {
		b.Fatal(err)
	}
	return uptime(b, line)
}

// uptime reads the seconds that the kernel has run.
func uptime(b *testing.B, line string) float64 {
	b.Helper()
	match := uptimeLine.FindStringSubmatch(line)
	if match == nil {
		b.Fatal(fmt.Errorf("no uptime in %q", line))
	}
	s, err := strconv.ParseFloat(match[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return s
}
