package audit

import (
	"net/netip"
	"sync"
	"time"

	"troy/server/limit"
	"troy/server/linelog"
)

const (
	refusedMost = 1 << 20 // bytes, where the file is rotated
	tellMost    = 50      // different tries of which a minute is told
	tellTime    = time.Minute
)

// refused keeps what strangers tried. What it cannot write is lost: no stranger may hold up an act.
type refused struct {
	file *linelog.File

	mu    sync.Mutex
	since time.Time
	tries map[try]*Entry // of the minute that began then, with the number of those that followed
	rest  int            // further different ones
}

// try is what makes one like another.
type try struct {
	from           netip.Addr // a party of package limit
	action, result string
}

// add writes or counts an entry.
func (r *refused) add(e Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if passed := e.Time.Sub(r.since); passed >= tellTime || passed < 0 {
		r.tell()
		r.since, r.tries = e.Time, map[try]*Entry{}
	}
	t := try{limit.PartyOf(e.From), cut(e.Action, textMost), cut(e.Result, textMost)}
	switch first := r.tries[t]; {
	case first != nil:
		first.Count++
	case len(r.tries) >= tellMost:
		r.rest++
	default:
		_ = write(r.file, e)
		r.tries[t] = &e
	}
}

// tell writes what was only counted. r.mu is held.
func (r *refused) tell() {
	for _, e := range r.tries {
		if e.Count > 0 {
			e.Detail = ""
			_ = write(r.file, *e)
		}
	}
	if r.rest > 0 {
		_ = write(r.file, Entry{Time: r.since, Action: "various", Result: "refused", Count: r.rest})
	}
	r.tries, r.rest = nil, 0
}

func (r *refused) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell()
	return r.file.Close()
}
