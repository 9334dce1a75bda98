package progress

// Rough is a stage of which only roughly is known how far it has come: what another program says of
// itself, or bytes that are not those of the total. It never passes the total, and reaches it at
// its end. One goroutine at a time may use it.
type Rough struct {
	stage       Stage
	total, told int64
}

// Rough begins such a stage.
func (s Start) Rough(what string, total int64) *Rough {
	return &Rough{stage: s.Begin(what, total), total: total}
}

// To says how much has been done in all. What was told before is not taken back.
func (r *Rough) To(done int64) {
	if done = min(done, r.total); done > r.told {
		r.stage.Add(done - r.told)
		r.told = done
	}
}

// Add says that n more bytes are done.
func (r *Rough) Add(n int64) { r.To(r.told + n) }

// Percent says how much has been done in all, in hundredths.
func (r *Rough) Percent(p float64) { r.To(int64(p / 100 * float64(r.total))) }

// End ends the stage; err is nil if all has been done.
func (r *Rough) End(err error) {
	if err == nil {
		r.To(r.total)
	}
	r.stage.Done()
}
