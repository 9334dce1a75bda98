package daemon

import (
	"encoding/json"
	"net/netip"
	"os"
	"time"

	"troy/internal/errline"
	"troy/server"
	"troy/server/limit"
	"troy/server/linelog"
	"troy/server/protocol"
)

// event is one line of the event log: a check-in with its order, a report, or an answer from the
// store.
type event struct {
	Time    time.Time         `json:"time"`
	CheckIn *protocol.CheckIn `json:"checkin,omitempty"`
	Order   *protocol.Order   `json:"order,omitempty"`
	Report  *protocol.Report  `json:"report,omitempty"`
	Served  *served           `json:"served,omitempty"`
}

// served is an answer from the store after it was sent, to its end or not.
type served struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"` // of its body
}

// Check-ins and reports of an address that are told as events.
const (
	toldPerMinute = 6
	toldAtOnce    = 300
)

// eventsMost is where the event log is rotated, in bytes.
const eventsMost = 64 << 20

// servedSuffix makes the name of the file with the answers from the store of that of the event log.
// Everybody can ask for them: in the same file, who goes on asking would have check-ins and reports
// rotated away.
const servedSuffix = ".served"

// eventLog appends events to two files. Without them it drops the events.
type eventLog struct{ file, served *linelog.File }

// tell has the server tell what happens, to the log and to the events. Of machines that have no
// place in lab.yaml, which anybody can make up, the events are told so much that a room's first
// evening is seen, and no more: they fill the journal.
func (l *eventLog) tell(so *server.Options, e *Events) {
	said := limit.New(toldPerMinute/60.0, toldAtOnce)
	may := func(peer protocol.Peer) bool {
		a, _ := netip.ParseAddr(peer.Addr)
		return said.Take(a, time.Now()) == 0
	}
	so.OnServed = func(name string, bytes int64) { add(l.served, event{Served: &served{name, bytes}}) }
	so.OnCheckIn = func(peer protocol.Peer, in protocol.CheckIn, o protocol.Order, err error) {
		if o.Name != "" || may(peer) {
			e.CheckIn(in, o, err)
		}
		add(l.file, event{CheckIn: &in, Order: &o})
	}
	so.OnReport = func(peer protocol.Peer, r protocol.Report) {
		if may(peer) { // whose it is, is not known here
			e.Report(r)
		}
		add(l.file, event{Report: &r})
	}
}

func openEventLog(path string) (*eventLog, error) {
	if path == "" {
		return &eventLog{}, nil
	}
	o := &linelog.Options{Most: eventsMost}
	f, err := linelog.Open(path, o)
	if err != nil {
		return nil, err
	}
	l := &eventLog{f, f}
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() { // a pipe or device gets all
		if l.served, err = linelog.Open(path+servedSuffix, o); err != nil {
			return nil, errline.Join(err, f.Close())
		}
	}
	return l, nil
}

// add writes one line. A full disk must not stop the machines, so the error is left.
func add(to *linelog.File, e event) {
	if to == nil {
		return
	}
	e.Time = time.Now().UTC()
	if b, err := json.Marshal(e); err == nil {
		_ = to.Append(b)
	}
}

// Close closes the files.
func (l *eventLog) Close() error {
	if l.file == nil {
		return nil
	}
	var err error
	if l.served != l.file {
		err = l.served.Close()
	}
	return errline.Join(err, l.file.Close())
}
