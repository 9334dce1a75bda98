package decide

import "time"

// Result is a step that was done in this start.
type Result struct {
	Step  Step
	Err   error
	Wrote bool // bytes may have reached the files of the machine
	Check bool // the disk did not give back what was written
}

// History is what was done in a start, in order.
type History []Result

// count tells how often a kind of step was done, and how often it failed.
func (h History) count(k Kind) (done, failed int) {
	for _, r := range h {
		if r.Step.Kind == k {
			done++
			if r.Err != nil {
				failed++
			}
		}
	}
	return done, failed
}

// may tells whether a step of that kind may be done once more.
func (h History) may(k Kind) bool {
	done, failed := h.count(k)
	l := k.limit()
	return done < l.done && failed < l.failed
}

func (h History) did(k Kind) bool    { done, _ := h.count(k); return done > 0 }
func (h History) failed(k Kind) bool { _, failed := h.count(k); return failed > 0 }

func (h History) succeeded(k Kind) bool { done, failed := h.count(k); return done > failed }

// since tells whether a step of kind k was done after the last successful one of any of the others.
func (h History) since(k Kind, others ...Kind) bool {
	for i := len(h) - 1; i >= 0; i-- {
		r := h[i]
		if r.Step.Kind == k {
			return true
		}
		for _, o := range others {
			if r.Step.Kind == o && r.Err == nil {
				return false
			}
		}
	}
	return false
}

func (h History) waited() (d time.Duration) {
	for _, r := range h {
		if r.Step.Kind == Wait {
			d += r.Step.Pause
		}
	}
	return d
}

// opens counts how often the disk was opened since a step last worked on it.
func (h History) opens() (n int) {
	for i := len(h) - 1; i >= 0 && !h[i].Step.Kind.works(); i-- {
		if h[i].Step.Kind == Open {
			n++
		}
	}
	return n
}

// fresh tells whether Disk is what the disk holds: it was opened, and no step failed since.
func (h History) fresh() bool {
	for i := len(h) - 1; i >= 0; i-- {
		r := h[i]
		switch k := r.Step.Kind; {
		case k == Open:
			return true
		case k.works() && r.Err != nil, k.reopens():
			return false
		}
	}
	return false
}

// touched tells whether a step failed in this start that changes what the machine boots.
func (h History) touched() bool {
	for _, r := range h {
		if r.Step.Kind.boots() && r.Err != nil && r.Wrote {
			return true
		}
	}
	return false
}
