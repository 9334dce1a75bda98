package web

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"troy/server/rooms"
)

// phases are all that a machine can be in, so that a series does not vanish when it becomes 0.
var phases = [...]rooms.Phase{rooms.PhaseNever, rooms.PhaseIdle, rooms.PhaseCurrent, rooms.PhaseOutdated, rooms.PhaseWaiting, rooms.PhaseWorking, rooms.PhaseSilent, rooms.PhasePermit, rooms.PhaseRefused, rooms.PhaseFailed, rooms.PhaseDown}

// collector makes numbers of the status when it is asked. Labels are names of lab.yaml only:
// machines cannot make series.
type collector struct {
	lab Viewer

	machines, healthy, alarms, unnamed, rate, left, open, version, compared, unknown, labValid *prometheus.Desc
}

// newMetrics makes the handler of /metrics.
func newMetrics(h *Handler) (http.Handler, error) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("troy_"+name, help, labels, nil)
	}
	c := &collector{lab: h.o.Lab,
		machines: desc("machines", "Machines of a room, by phase.", "room", "phase"),
		healthy:  desc("machines_healthy", "Machines of a room that have its version and reported it healthy.", "room"),
		alarms:   desc("machines_attention", "Machines of a room that need attention.", "room"),
		unnamed:  desc("machines_unnamed", "Machines of a room that lack their name, or something else of their own, in Windows.", "room"),
		rate:     desc("room_fetch_bytes_per_second", "What the machines of a room fetch now, as they say.", "room"),
		left:     desc("room_left_seconds", "Time until the wave is through, roughly; 0 = nothing to do, or not known.", "room"),
		open:     desc("room_window_open", "1 if machines of the room may be worked on.", "room"),
		version:  desc("room_version", "Target version of a room.", "room", "image"),
		compared: desc("machines_compared", "Machines of a room whose last comparison of the whole disk found it equal, or different, and those that are ordered to compare.", "room", "result"),
		unknown:  desc("machines_unknown", "Unknown machines."),
		labValid: desc("lab_valid", "1 if the lab.yaml on the disk is in force."),
	}
	r := prometheus.NewRegistry()
	all := []prometheus.Collector{c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})}
	for name, f := range h.o.Counters {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "troy_" + name, Help: "Since the server started."}, f))
	}
	all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "troy_viewers", Help: "Browsers that watch the page."}, func() float64 { return float64(h.shares.viewers.Taken() + h.shares.strangers.Taken()) }))
	for _, x := range all {
		if err := r.Register(x); err != nil {
			return nil, err
		}
	}
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{Timeout: 10 * time.Second, MaxRequestsInFlight: 4}), nil
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.machines, c.healthy, c.alarms, c.unnamed, c.rate, c.left, c.open, c.version, c.compared, c.unknown, c.labValid} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := c.lab.Status()
	for i := range s.Rooms {
		r := &s.Rooms[i]
		for _, p := range phases {
			put(c.machines, float64(r.Counts[p]), r.Name, string(p))
		}
		put(c.healthy, float64(r.Healthy), r.Name)
		put(c.alarms, float64(r.Alarms), r.Name)
		put(c.unnamed, float64(r.Unnamed), r.Name)
		put(c.rate, float64(r.Rate), r.Name)
		put(c.left, r.Left, r.Name)
		put(c.open, flag(r.Open), r.Name)
		put(c.compared, float64(r.Compared.Equal), r.Name, "equal")
		put(c.compared, float64(r.Compared.Differ), r.Name, "different")
		put(c.compared, float64(r.Compared.Ordered), r.Name, "ordered")
		if r.Image != "" {
			put(c.version, float64(r.Want), r.Name, r.Image)
		}
	}
	put(c.unknown, float64(len(s.Unknown)))
	put(c.labValid, flag(s.LabError == ""))
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
