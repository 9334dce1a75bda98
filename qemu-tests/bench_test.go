package qemutests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"troy/internal/testing/testlab"
	"troy/trial/vm"
)

// BenchmarkAgentStart measures, in seconds from the agent's first line on the screen: until it has
// an address by DHCP (lease-s), until the server has its check-in (checkin-s), and until the server
// has sent the first bytes of the store (first-byte-s). Kernel and initramfs are started as PXE
// does, under OVMF, for each model of network card.
func BenchmarkAgentStart(b *testing.B) {
	for name, model := range map[string]string{"virtio": "virtio-net-pci", "e1000e": "e1000e"} {
		b.Run(name, func(b *testing.B) {
			var sum startTimes
			n := 0
			for b.Loop() {
				n++
				sum.add(measureStart(b, fmt.Sprintf("bench-%s-%d", name, n), model))
			}
			b.ReportMetric(sum.lease.Seconds()/float64(n), "lease-s")
			b.ReportMetric(sum.checkIn.Seconds()/float64(n), "checkin-s")
			b.ReportMetric(sum.firstByte.Seconds()/float64(n), "first-byte-s")
			b.ReportMetric(0, "ns/op") // mostly firmware and kernel
		})
	}
}

// startTimes are counted from the agent's first line.
type startTimes struct{ lease, checkIn, firstByte time.Duration }

func (s *startTimes) add(t startTimes) {
	s.lease, s.checkIn, s.firstByte = s.lease+t.lease, s.checkIn+t.checkIn, s.firstByte+t.firstByte
}

// measureStart starts one PC and cuts its power when the first bytes were sent.
func measureStart(b *testing.B, name, model string) (s startTimes) {
	b.Helper()
	pc, err := room.NewPC(b.Context(), name)
	if err != nil {
		b.Fatal(err)
	}
	defer os.Remove(pc.Disk)
	pc.NIC = model
	c, err := pc.KernelConfig("troy.server=" + testlab.ServerURL)
	if err != nil {
		b.Fatal(err)
	}
	var mu sync.Mutex
	var begin, lease time.Time
	c.OnLine = func(line string) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case begin.IsZero() && strings.HasPrefix(line, "deploy: "):
			begin = time.Now()
		case lease.IsZero() && strings.HasPrefix(line, "deploy: network: ") && strings.Contains(line, " has "):
			lease = time.Now()
		}
	}
	log := filepath.Join(b.TempDir(), "serve.jsonl")
	server := startServer(b, room, log)
	defer server.kill()
	m, err := vm.Start(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	checkIn, firstByte := waitForBytes(b, log, m)
	mu.Lock()
	defer mu.Unlock()
	if begin.IsZero() || lease.IsZero() {
		b.Fatalf("the agent did not say when it began, or that it has an address:\n%s", m.Log())
	}
	return startTimes{lease.Sub(begin), checkIn.Sub(begin), firstByte.Sub(begin)}
}

// waitForBytes waits until the server has sent bytes of the store.
func waitForBytes(b *testing.B, log string, m *vm.VM) (checkIn, firstByte time.Time) {
	b.Helper()
	for end := time.Now().Add(4 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for _, e := range serverLog(b, log) {
			if e.CheckIn != nil {
				checkIn = e.Time
			}
			if e.Served != nil && e.Served.Bytes > 0 {
				return checkIn, e.Time
			}
		}
	}
	b.Fatalf("the server has sent nothing:\n%s", m.Log())
	return
}

// BenchmarkNothingToDo measures, in seconds from the agent's first line to the one before its
// reset, a start of a PC that has its target version: what every start of a room costs.
func BenchmarkNothingToDo(b *testing.B) {
	server, err := room.Serve(b.Context(), testlab.Room{Version: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Stop()
	pc, err := room.NewPC(b.Context(), "nothing")
	if err != nil {
		b.Fatal(err)
	}
	defer os.Remove(pc.Disk)
	var sum time.Duration
	for b.Loop() {
		c, err := pc.KernelConfig("")
		if err != nil {
			b.Fatal(err)
		}
		var mu sync.Mutex
		var begin, end time.Time
		c.OnLine = func(line string) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case begin.IsZero() && strings.HasPrefix(line, "deploy: "):
				begin = time.Now()
			case strings.HasPrefix(line, "deploy: restarting into Windows"):
				end = time.Now()
			}
		}
		m, err := vm.Start(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		err = m.Wait(b.Context())
		m.Close()
		mu.Lock()
		if err != nil || begin.IsZero() || end.IsZero() {
			b.Fatalf("%v; the agent did not say when it began, or when it ended:\n%s", err, m.Log())
		}
		sum += end.Sub(begin)
		mu.Unlock()
	}
	b.ReportMetric(sum.Seconds()/float64(b.N), "handoff-s")
	b.ReportMetric(0, "ns/op")
}
