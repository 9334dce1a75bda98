package rooms

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

const (
	// triesMost is how often a machine may fail at one target before it is left alone.
	triesMost = 3
	// staleTime is how long nothing may be heard of a machine at work before its start slot is
	// given away.
	staleTime = 15 * time.Minute
	// againTime is how long a machine may ask again for the same answer: no machine starts twice in
	// it.
	againTime = time.Minute
	// diskRate is what a machine is taken to write, in bytes per second.
	diskRate = 80 << 20
	// overhead is what each start takes besides fetching and writing.
	overhead = 90 * time.Second

	// stallTime is how long the work of a machine that nothing vouches for may stand still before
	// its start slot is given away.
	stallTime = 5 * time.Minute

	waitLeast = 15 * time.Second // before a machine without a slot asks again
	waitMost  = 2 * time.Minute
)

// Goal is the version that a machine or room should have, and under which conditions.
type Goal struct {
	ID      uint64 // of the promotion; 0 = there is none
	Image   string
	Version int
	Window  *lab.Window // in place of the room's; nil = those
	Retry   bool
	Pinned  bool   // in lab.yaml
	Stopped string // why the wave stopped
	Gate    string // why the room before does not let it go on; "" = it does

	after *state.Target // the promotion, which may have to wait for a room; nil = none
}

// Case is everything that an order depends on.
type Case struct {
	Now     time.Time
	Lab     *lab.Lab
	Room    *lab.Policy // nil = the machine is unknown and shows a code
	Guest   bool        // it is unknown and joined the room all the same: it gets no permits
	CheckIn *protocol.CheckIn
	Agent   string // release that machines should start by themselves
	Code    string // for a machine without a room
	Name    string // of the machine in its room
	Where   string // the name of the room
	Key     string // that is pinned for it
	// Own is what it is to get in Windows, nil = nothing; Unnamed says why it gets nothing although
	// its room names machines.
	Own     *lab.Own
	Unnamed string
	// Permitted tells whether the admin has signed a permit, and whether that could be read at all;
	// nil = it is not known.
	Permitted func(Need) (signed, known bool)
	Doubt     string             // why it is unknown although something seems to name it; "" = nothing does
	Attempt   *state.Attempt     // the last deployment of this machine
	Goal      *Goal              // nil = nothing is promoted
	Size      Size               // from what the machine has to Goal
	Lost      bool               // the store does not have the version that the machine has
	Another   bool               // nor what has that number here: it is Lost, too
	Verify    *protocol.Verify   // an order to compare the machine; nil = none
	EndSetup  *protocol.EndSetup // an order about the setup of its version; nil = none
	Known     bool               // the store has a version of the number that the machine has
	Whole     int64              // bytes that it would read for that
	Active    int                // other machines of the room that are at work
	Same      int                // of these, from where this one speaks, if no key is pinned for both
	Failed    int                // machines of the room that failed at Goal
}

// Decision is an order, and whether it takes a start slot.
type Decision struct {
	Order protocol.Order
	Start bool
	Work  state.Work // that the machine begins
}

// Decide gives the order for one check-in. See the package comment for its rules.
func Decide(c *Case) Decision {
	if c.Room == nil {
		reason := "this machine is unknown: " + cmp.Or(c.Doubt, "assign its code to a room")
		if c.CheckIn.Detail != "" { // it may be why it is unknown: its key lies in a journal that its agent cannot read
			reason += "; its disk: " + c.CheckIn.Detail
		}
		return Decision{Order: protocol.Order{Protocol: protocol.Version, Time: c.Now.UTC(), Repo: protocol.PathRepo, Code: c.Code,
			Rules: protocol.Rules{Until: c.Now}, Contact: string(c.Lab.Defaults.Contact), Reason: protocol.Clean(reason, protocol.MaxText)}}
	}
	if why := c.CheckIn.Refused(); why != "" {
		return c.unheard(why)
	}
	d := c.decide()
	c.endSetup(&d.Order)
	if c.Unnamed != "" {
		d.Order.Room = "" // with a room, and no identity, it would lose the name that it has
		d.Order.Reason = protocol.Clean(strings.TrimPrefix(d.Order.Reason+"; "+c.Unnamed, "; "), protocol.MaxText)
	}
	return d
}

// decide is Decide for a machine that has a room and is understood.
func (c *Case) decide() Decision {
	o := c.order()
	if c.Goal == nil {
		if d, ok := c.verify(o, false); ok {
			return d
		}
		o.Reason = "no version was promoted to this room"
		return Decision{Order: o}
	}
	work, why, settled := c.todo()
	if settled && c.Size.Manifest != "" { // the store may have lost what the machine has
		o.Want = c.want()
	}
	barred := first(c.stopped, c.tired, c.gated)
	if settled || barred != "" {
		if d, ok := c.verify(o, settled && (c.has() || barred == "")); ok {
			return d
		}
	}
	if why = cmp.Or(why, barred, first(c.closed, c.late)); why != "" {
		o.Reason = protocol.Clean(why, protocol.MaxText)
		return Decision{Order: o}
	}
	if c.full() {
		return Decision{Order: c.wait(o)}
	}
	o.Want = c.want()
	return Decision{Order: o, Start: true, Work: work}
}

// first is what the first rule says that says something.
func first(rules ...func() string) string {
	for _, rule := range rules {
		if why := rule(); why != "" {
			return why
		}
	}
	return ""
}

// order is what every machine of the room is told.
func (c *Case) order() protocol.Order {
	o := protocol.Order{
		Protocol: protocol.Version, Time: c.Now.UTC(), Repo: protocol.PathRepo, Name: c.Name, Agent: c.Agent, Mirrors: c.Lab.MirrorURLs(),
		Rules: protocol.Rules{Reset: protocol.Reset(c.Room.Reset), Merge: protocol.Merge(c.Room.Merge), Rate: c.rate(),
			Starts: c.starts(), LinkPatience: int(c.Room.Link), Windows: c.windows()},
		Permits: c.permits(), Room: c.Where, Contact: string(c.Room.Contact),
	}
	if c.Own != nil {
		o.Identity = &c.Own.Identity
	}
	switch closes, open := c.hours().Closes(c.Now); {
	case c.always():
	case !open:
		o.Rules.Until = c.Now.In(c.Lab.Location())
	case c.Room.AtClose == lab.CloseStop:
		o.Rules.Until = closes
	}
	return o
}

// starts is what the room says, as long as the machine has nothing to do: one that waits for a
// window, a slot or a permit starts the agent each time.
func (c *Case) starts() protocol.Starts {
	if c.Goal != nil && !c.has() || c.Verify != nil || c.EndSetup != nil || c.CheckIn.Setup == protocol.SetupPending {
		return protocol.StartsAgent
	}
	return protocol.Starts(c.Room.Starts)
}

// windows are when the room is worked on, for starts that reach no server.
func (c *Case) windows() []protocol.Weekly {
	if c.always() {
		return []protocol.Weekly{{From: 0, Minutes: protocol.MaxMinutes}}
	}
	return c.hours().Weekly(c.Now)
}

// permits are what the room allows; nothing for a machine that only says that it is one of the
// room. One whose disk is bare has no key that lasts: it may make a disk, nothing else.
func (c *Case) permits() protocol.Permits {
	if c.Guest {
		return protocol.Permits{}
	}
	var o protocol.Permits
	if c.CheckIn.Image != "" || !bare(c.CheckIn.Disks) {
		o = protocol.Permits{Reinstall: *c.Room.Reinstall, Retry: c.Goal != nil && c.retry()}
	}
	if p := c.Room.Provision; p.Allow {
		o.Provision = &protocol.Provision{Serial: p.Serial, Wipe: p.Wipe, SlotBytes: p.Slot.Bytes(), SystemBytes: p.System.Bytes()}
	}
	return o
}

// want names the goal.
func (c *Case) want() *protocol.Want {
	return &protocol.Want{Image: c.Goal.Image, Version: c.Goal.Version, Manifest: c.Size.Manifest}
}

// retry says whether the machine should try again what it gave up: once for each promotion that
// says so, not at every start.
func (c *Case) retry() bool {
	ended := c.Goal.Fits(c.Attempt) && (c.Attempt.Result == state.ResultFailed || c.Attempt.Result == state.ResultDone)
	return c.Goal.Retry && !ended
}

// full says whether there is no start slot for this machine now.
func (c *Case) full() bool { return c.Active >= int(c.Room.Wave) || c.crowded() }

// crowded says whether a machine without a pinned key has to leave the free slots to others: from
// one address no more such machines are at work than there are free slots, so that a laptop that
// makes them up cannot take all.
func (c *Case) crowded() bool {
	return c.Same > 0 && c.Same >= int(c.Room.Wave)-c.Active
}

// rate is a machine's part of its room's bandwidth, what a machine takes at least; 0 if the room
// has no limit of its own.
func (c *Case) rate() int64 {
	if c.Room.Bandwidth == 0 {
		return 0
	}
	return max(c.Room.Bandwidth.Bytes()/int64(c.Room.Wave), protocol.MinRate)
}

// hours are the windows that count for this goal.
func (c *Case) hours() lab.Hours {
	h := c.Lab.Hours(c.Room)
	if c.Goal != nil && c.Goal.Window != nil {
		h.Windows = []lab.Window{*c.Goal.Window}
	}
	return h
}

// always says whether windows do not matter: a promotion for a time of its own keeps to that.
func (c *Case) always() bool { return *c.Room.Always && (c.Goal == nil || c.Goal.Window == nil) }

// todo derives from a check-in what a machine has to do to come to a goal, or why it does nothing.
// Settled: it can be told the goal all the same, for it has it, or waits for a permission and says
// so itself.
func (c *Case) todo() (w state.Work, why string, settled bool) {
	in, g, permits, lacks := c.CheckIn, c.Goal, c.permits(), c.lacks()
	holds := holding(in)
	if c.Another {
		holds = fmt.Sprintf("the disk holds another %s version %d than the store has ('troy verify --adopt' brings it to this one)", in.Image, in.Version)
	} else if c.Lost {
		holds += ", which the store does not have"
	}
	switch {
	case c.has():
		return state.WorkNone, "the machine has this version", true
	case in.Image == "" && bare(in.Disks) && permits.Provision != nil && lacks == "":
		return state.WorkProvision, "", false
	case in.Image == "" && bare(in.Disks) && permits.Provision == nil:
		return state.WorkNone, "no disk of this machine is prepared" + c.waits("provision: {allow: true}"), true
	case lacks != "":
		return state.WorkNone, holds + lacks, true
	case in.Detail != "" && !in.Damaged:
		return state.WorkNone, "the disk cannot take an image: " + in.Detail, false
	case updates(in, g.Image) && !c.Lost:
		return state.WorkUpdate, "", false
	case permits.Reinstall:
		return state.WorkReinstall, "", false
	}
	return state.WorkNone, holds + c.waits("reinstall: true"), true
}

// waits says what gives a permission of lab.yaml.
func (c *Case) waits(key string) string {
	text := fmt.Sprintf("; it waits for your permission: set `%s` for the room in lab.yaml", key)
	if c.Guest {
		text += fmt.Sprintf(" and give the machine a name (troy assign --room ROOM %s NAME)", c.CheckIn.Machine.String())
	}
	return text
}

// holding says what is in the way of an update.
func holding(in *protocol.CheckIn) string {
	switch {
	case in.Image == "" && bare(in.Disks):
		return "the disk holds something"
	case in.Damaged:
		return "the version on the disk is damaged"
	case in.Version == 0:
		return "the disk holds a version that is not recorded"
	}
	return fmt.Sprintf("the disk holds %s version %d", in.Image, in.Version)
}

// updates says whether a machine comes to another version of an image by what changed.
func updates(in *protocol.CheckIn, image string) bool {
	return in.Image == image && in.Version != 0 && !in.Damaged
}

// bare says whether no disk of the machine is prepared yet.
func bare(disks []protocol.Disk) bool {
	return len(disks) > 0 && !slices.ContainsFunc(disks, func(d protocol.Disk) bool { return d.Troy })
}

func (c *Case) stopped() string {
	switch {
	case c.Goal.Stopped != "":
		return "the wave was stopped: " + c.Goal.Stopped
	case c.Failed >= int(c.Room.Failures):
		return fmt.Sprintf("the wave was stopped: %d machines failed", c.Failed)
	}
	return ""
}

func (c *Case) tired() string { return c.Goal.tired(c.Attempt) }

func (c *Case) gated() string { return c.Goal.Gate }

func (c *Case) closed() string {
	h := c.hours()
	if c.always() || h.Open(c.Now) {
		return ""
	}
	if next, _, ok := h.Next(c.Now); ok {
		return "not now: the window opens " + next.In(h.Zone).Format("Mon 2006-01-02 15:04")
	}
	return "not now: no window opens"
}

// takes is how long this machine is at work, beside n others.
func (c *Case) takes(others int) time.Duration {
	share := float64(c.Lab.Rate(c.Room)) / float64(others+1)
	if r := c.rate(); r > 0 {
		share = min(share, float64(r))
	}
	return overhead + seconds(float64(c.Size.Fetch)/share) + seconds(float64(c.Size.Write)/diskRate)
}

// seconds converts, without overflow.
func seconds(s float64) time.Duration { return time.Duration(min(s, 1e8) * float64(time.Second)) }

func (c *Case) late() string {
	closes, ok := c.hours().Closes(c.Now)
	if !ok || c.always() {
		return ""
	}
	if need := c.takes(min(c.Active, int(c.Room.Wave)-1)); c.Now.Add(need).After(closes) {
		return fmt.Sprintf("not now: it takes about %s, the window closes in %s", need.Round(time.Minute), closes.Sub(c.Now).Round(time.Minute))
	}
	return ""
}

// wait tells the machine to ask again, or to start Windows if a slot would come too late.
func (c *Case) wait(o protocol.Order) protocol.Order {
	need := c.takes(int(c.Room.Wave) - 1)
	pause := min(max(need/time.Duration(c.Room.Wave), waitLeast), waitMost) + spread(c.CheckIn.Machine.String(), waitLeast)
	if closes, ok := c.hours().Closes(c.Now); ok && !c.always() && c.Now.Add(pause+need).After(closes) {
		o.Reason = "not now: other machines are at work until the window closes"
		return o
	}
	o.Wait = int(pause / time.Second)
	o.Reason = fmt.Sprintf("%d machines are at work", c.Active)
	return o
}

// spread keeps machines from asking in the same second: a part of most, always the same for one
// machine.
func spread(name string, most time.Duration) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(name))
	return time.Duration(h.Sum32()%1000) * most / 1000
}
