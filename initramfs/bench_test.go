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
	dir := b.TempDir()
	o := &Options{Kernel: environment(b, "KERNEL"), Modules: environment(b, "MODULES"), Cache: environment(b, "TROY_CACHE"),
		Programs: []string{"mkntfs", "ntfs-3g"}, Out: filepath.Join(dir, "true.zst")}
	info, err := Build(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	o.program, o.Out = probe, filepath.Join(dir, "probe.zst")
	if _, err := Build(b.Context(), o); err != nil {
		b.Fatal(err)
	}
	var seconds float64
	for b.Loop() {
		seconds += secondsToAgent(b, o)
	}
	b.ReportMetric(seconds/float64(b.N), "s-to-agent")
	b.ReportMetric(float64(info.Size)/1e6, "MB-initramfs")
	b.ReportMetric(float64(len(info.Modules)), "drivers")
	b.ReportMetric(0, "ns/op")
}

func secondsToAgent(b *testing.B, o *Options) float64 {
	b.Helper()
	m, err := vm.Start(b.Context(), &vm.Config{Dir: b.TempDir(), Kernel: o.Kernel, Initrd: o.Out, Cmdline: "console=ttyS0 quiet", NoReboot: true, Timeout: 2 * time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	line, err := m.Expect(b.Context(), uptimeLine.String()+` .*\n`)
	if err != nil {
		b.Fatal(err)
	}
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
