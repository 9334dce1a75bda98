package web

import (
	"fmt"
	"html/template"
	"time"

	"troy/chainload/secureboot"
	"troy/server/rooms"
)

// funcs are those of the templates.
func (p *pages) funcs() template.FuncMap {
	return template.FuncMap{
		"bytes":   formatBytes,
		"rate":    func(n int64) string { return formatBytes(n) + "/s" },
		"seconds": formatSeconds,
		"when":    func(t time.Time) string { return formatTime(t.In(p.h.o.Lab.Lab().Location()), p.h.now()) },
		"svn":     func(n int64) string { return secureboot.SVN(n).String() },
		"label":   label,
		"zone":    func() string { return p.h.o.Lab.Lab().Location().String() },
		"percent": percent,
		"share":   func(n, of int) int { return share(int64(n), int64(of)) },
		"sum": func(counts map[rooms.Phase]int, phases ...rooms.Phase) (n int) {
			for _, x := range phases {
				n += counts[x]
			}
			return n
		},
	}
}

func formatBytes(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1000, 0
	for v >= 999.5 && i < len(units)-1 {
		v, i = v/1000, i+1
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f %cB", v, units[i])
	}
	return fmt.Sprintf("%.0f %cB", v, units[i])
}

func formatSeconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 90*time.Minute:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
}

// formatTime is short where that is clear.
func formatTime(t, now time.Time) string {
	now = now.In(t.Location())
	days := now.Sub(t)
	switch {
	case t.IsZero():
		return "never"
	case t.YearDay() == now.YearDay() && t.Year() == now.Year():
		return t.Format("15:04")
	case days < 6*24*time.Hour && days > -6*24*time.Hour:
		return t.Format("Mon 15:04")
	}
	return t.Format("2006-01-02")
}

func share(n, of int64) int {
	if of <= 0 {
		return 0
	}
	return int(max(0, min(100, float64(n)*100/float64(of))))
}

// percent is how far a machine is; -1 = not known.
func percent(h *rooms.Live) int {
	if h == nil || h.Total <= 0 {
		return -1
	}
	return share(h.Done, h.Total)
}

// label says what a phase means.
func label(p rooms.Phase) string {
	switch p {
	case rooms.PhaseUnknown:
		return "unassigned"
	case rooms.PhaseNever:
		return "never seen"
	case rooms.PhaseIdle:
		return "nothing promoted"
	case rooms.PhaseCurrent:
		return "up to date"
	case rooms.PhaseOutdated:
		return "to be updated"
	case rooms.PhaseWaiting:
		return "queued"
	case rooms.PhaseWorking:
		return "at work"
	case rooms.PhaseSilent:
		return "unresponsive"
	case rooms.PhasePermit:
		return "waits for a permit"
	case rooms.PhaseRefused:
		return "agent too old or too new"
	case rooms.PhaseFailed:
		return "failed"
	case rooms.PhaseDown:
		return "does not come up"
	}
	return string(p)
}
