// Package rooms decides what the machines of a lab do, and when: it is the server.Orders of "troy
// serve".
//
// # The seam
//
// Decide is pure: an order is a function of lab.yaml, what is known of the machine, what was
// promoted, who else is at work, and the time. Keeper gathers these, makes the
// decision durable (package state) before it is answered, and runs what needs a clock: wake-up
// calls, the history of nights, the reading of a changed lab.yaml.
//
// # Who a machine is
//
// Package identity judges each check-in; Keeper has its register in memory, made of the records at
// the start, and asks it under its lock, so that two newcomers never become one record. Records go
// by an id that says nothing of the machine. A key is pinned when a machine that is listed or
// assigned checks in with a recorded version, or reports one. Progress and reports are taken only
// from the key of the last check-in. Machines that are vouched for (listed or assigned, with a
// pinned key) alone count in gates, in failures that stop a wave, and as those that are awake;
// start slots that others have do not keep them waiting.
//
// # Strangers
//
// Machines that are neither listed nor assigned, and for which no key is pinned, can be made up by
// anyone on the network. At most strangersMost are kept, and each for strangerTime after its last
// check-in. A new one takes the place of another: of the party of package limit that has most, the
// one that was not seen for longest. So nobody is refused, and who makes up machines pushes out his
// own. Of a stranger that shows a code a record of at most 2 KiB is kept, which is what is needed
// to show and assign it; of one that joined a room 4 KiB of each part and of each log. Listed and
// assigned machines are not bounded by this, nor those whose key was pinned once.
//
// # What a machine is told, the first line that fits
//
//	it is unknown, and lab.yaml has no room for  nothing; a code for its screen, by which Assign
//	unknown machines; or in doubt                gives it a name and a room
//	nothing is promoted to its room              nothing
//	it has the version, by number and manifest   that version: it merges and resets as the room says;
//	                                             an order to verify, with a start slot, in a window into which it fits
//	it needs what the room does not permit, or   the version; it takes no start slot, and says what it waits for
//	a permit of the admin that is not signed
//	its disk cannot take an image                nothing
//	the wave was stopped, or too many failed     nothing
//	it failed three times at this target         nothing; also if it went back from it by itself
//	the room in "after" is not healthy yet       nothing
//	outside of a window, the room not "always"   nothing
//	what is to do does not fit into the window   nothing
//	all start slots are taken                    wait, and ask again; nothing if that would be too late
//	else                                         the version, with a start slot
//
// An order to verify goes out, too, where nothing is promoted, or where a machine is kept from its
// version by a stop, by its failures or by the room before, if the store has a version of the
// number that the machine has; nobody is woken for it then. An order to adopt waits until the
// machine may have the version that it would adopt. To be compared is no try at a version: it
// neither counts as a failure nor makes one forgotten.
//
// "Nothing" keeps what is there, and always starts Windows. Every order carries the rules and
// permits of the room; a machine that joined by "unknown: ROOM" gets the rules but no permits. How
// a machine gets to a version is its own business (agent/decide); what it has to do, for slots and
// counting, todo derives from its check-in. Outside of a window nothing long is begun either: Until
// of the rules is then the present.
//
// A target comes from the host's pin, else the room's pin in lab.yaml, else the newest promotion of
// the room. A host or room that is pinned needs no promotion and has no gate; a pinned room takes
// no promotion of another version. A host with an image of its own follows promotions of that image
// alone. Stop holds for all of them until it is ended, or the next promotion. A new promotion
// forgets the failures of the one before; what is pinned forgets them by a promotion of the same
// version. A rollback brings back the newest version of the same image that was not rolled back
// since, and that the store still has.
//
// A machine failed if its report says so, or if Windows does not come up in the version (health
// failing); a machine that was stopped by the end of the window, or that waits for a permit, did
// not fail. One that was brought to the version and checks in with the one below gave it up
// (Windows did not come up three times): it has failed from that check-in on, and is left alone
// until the next promotion. A machine that says nothing counts, too: one that was told to begin and
// is silent counts as failed as long as that lasts, and a start without a report is a try, the
// third of which failed. Which failure stopped a wave is told once.
//
// A machine whose version the store lacks is updated to none: it is written as a whole, where the
// room and a permit allow that. A store that cannot be read lacks nothing.
//
// # What is a machine's own in Windows
//
// A machine that is listed or assigned is told what lab.Identity gives for it, also where nothing is
// promoted; guests and machines in doubt are told nothing. Of two machines with one name in Windows
// a host of lab.yaml keeps it, else the one that checked in first; the other one, and one with a name
// that Windows cannot have, gets nothing, and the order and the status say why. Assign refuses such
// names. Secrets are read when an order is made, for machines that are confirmed and speak with the
// key that is pinned; a file that cannot be used is told, and the order goes out without it. Nothing
// that is kept, told or shown has a value, secret or not: of the identity that was ordered the record
// has the name alone. What a machine says that it has of it is kept and shown; what it lacks calls
// for a person once it was told and a start went by. A promotion warns of a version without the
// places, and refuses it where the room requires them.
//
// # Start slots
//
// At most "wave" machines of a room are at work. A slot is taken when the order goes out, and free
// again with the report, or when nothing was heard of the machine for 15 minutes. A machine that
// comes back after a cut keeps its slot, twice. One without a pinned key has to get on: five
// minutes after its first check-in, or after its progress last moved, the slot is free. And of
// these machines, no more are at work from one address than there are slots free, so that one
// laptop which speaks for many leaves room for others. Slots are in the state file: a server that
// starts again in the middle of a wave goes on with it.
//
// # Health gate
//
// A room that comes after another goes on once Healthy percent of that room's machines have shown
// that they are healthy in the version, and fewer than Failures of them failed. Those count that
// are known by their keys and are to have this version, now: not those that lab.yaml pins to
// another one, and none if the room gets another one by now. A machine has shown it if it has the
// version, was ordered it, and checked in with it healthy since it has it. What is lacking, the
// status, each order and the estimate of a promotion say. The gate stays open then. Rooms that
// would wait for each other are refused. Agents see health at the start after Windows was up, so
// the first room has to be started twice (see Waking).
//
// # Waking
//
// In an open window, where "wake" is on, machines that are off are called as there are start slots:
// each at most every wakeAgain, those first that were called longest ago. One that was called holds
// a place for awakeTime. Calls go out in the background, from one queue, in which each machine is
// once. First come those that need their version, then those that are to be
// compared with it, which get one try at each order in a window. When none of these is at work, up,
// or called a moment ago, those follow that have it and would come further by one more start:
//
//	the room merges lazily, and the version lies in its slot, or its merge is not finished
//	another room waits for this one, and nothing is known of the version's health
//
// settleMost times in a window at most, spread over it. A machine is not called if it says that
// Windows does not come up. A start by a call goes on into Windows, and health is seen at the start
// after that: so it needs an image that shuts Windows down when it is not in use. Where Windows
// runs on, further calls have no effect, and what is left is done when people start the machine.
//
// # Nights
//
// The history has a record for each version in each window: how many machines came to it, failed,
// or do not have it at the end. Each machine that follows the room is in one of these at most. A
// second promotion in a window ends the record of the first.
//
// # The clock
//
// Times that are kept may be ahead of the clock, if that was. They tell no more than that something
// was before the server started, or before its clock was set back, which it notices.
//
// # Attention
//
// A machine needs a person, whatever its phase is, when
//
//	its last report said that it will start Windows without the agent
//	its last check-in said that Windows ran without the agent
//	it was compared with its version, and differs
//	its agent and this server have no protocol in common, or its agent does not know a word that
//	the store needs (PhaseRefused)
//	nothing was heard of it for "silent" days, and a window of its room has passed since, or it
//	was woken since
//
// The first three hold until it is heard again. Each is told once (OnNote) and shown
// (Host.Attention).
//
// # Known gaps
//
// Before its first pin a machine is who it says it is: a forger can take its order, and another
// check-in in its name ends its right to report for that start. Who has many IPv4 addresses is many
// parties, and who tells invented progress holds slots for which no machine with a pinned key has
// to wait. A room behind one address gets half of its wave until keys are pinned. A room of guests
// alone opens no gate, and no failures of theirs stop a wave. Estimates are rough: the bytes of the
// plan, the bandwidth of lab.yaml, 80 MiB/s of a disk, and 90 s for each start. The bandwidth of a
// room is kept by giving each of its machines an even part (Order.Rate); unused parts are not lent.
// Whether Windows runs is not known; a call may go to a machine that is on. A night's numbers count
// attempts that ended in it. Wake-up calls, and which silent machines were told, are not remembered
// over a restart.
package rooms
