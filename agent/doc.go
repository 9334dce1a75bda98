// Package agent is what a machine does at a start: u-root's init runs it (command deploy) on the
// machine, before Windows.
//
// It finds the machine's disk, brings up the network, asks the server what the machine is to have,
// fetches the changed pages, stages them into the inactive slot, commits, merges when the policy
// says so, and hands the machine to Windows Boot Manager. What it does next, and why, package
// decide says; this package gathers the facts and does the steps. Whatever goes wrong it says in
// one line that a photo can show, reports if it can, and starts the version that is on the disk: it
// never strands a machine.
//
// # Kernel arguments
//
//	troy.server=URL[,URL]…         the servers in their order; typed at this start, in place of all
//	                               others
//	troy.ip=…, troy.port=…         a static address instead of DHCP, the ports to use
//	troy.link-patience=SECONDS     how long the network is waited for, instead of what the room says
//	BOOTIF=01-…                    of GRUB and iPXE: the port that is preferred
//	troy.disk=/dev/…               work on this disk only
//	troy.shell                     stop in a shell instead of restarting the machine; rescue media only
//
// The same can be given as flags when the program is run by hand from the rescue shell (deploy -h),
// and in the file config of the media, which the kernel command line overrides.
//
// # What the media carry
//
//	/etc/troy/config        words as on the kernel command line
//	/etc/troy/root.json     TUF root metadata of the store: whose signatures count
//	/etc/troy/servers.json  the list of servers that was signed when the media were made
//	/etc/troy/built         when the media were made (RFC 3339): no time before is believed
//
// # Network
//
// The network is the one in which a server of Troy answers (package netfetch/link tries them; the
// servers are those of the kernel arguments, or the one that option 224 of an offer names). Where
// none answers in time, one with an address is taken all the same, and the servers are asked for a
// while. How long the network is waited for, package decide says: in full while a window of the
// room is open, which the journal knows from the last order, or after a wake-up, as far as the
// firmware tells (SMBIOS, wake-up type); else 10 seconds. The key W on the console ends the wait:
// Windows starts with what is there.
//
// # The screen
//
// A machine with a screen shows a page there (package page) and says its lines on a serial console,
// or, if there is none, on the second terminal (package screen). R discards the session where the
// rule of the room is reset: key and nothing else forbids it; the page offers it then. A fault that
// was not seen while a server was waited for is shown for 10 seconds before Windows starts. What the
// supervisor says of an agent that broke is a page, too; a panic of the kernel is shown over it.
// Rescue media and an agent that a person starts show lines alone.
//
// # Exit codes
//
//	 0  deployed, or nothing to do
//	 3  stopped, or waiting for a permission: the disk is untouched
//	 4  unfinished but safe: the machine starts; run again
//	 5  a check failed: what was written did not read back right, or Windows could not be started
//	64  wrong usage
//
// # Steps
//
// Init starts the agent's supervisor (Supervise), which hears no signal of the console and starts
// Windows, and the machine again, if the agent breaks. There is no shell on normal media.
//
// Package decide has the table of what is done when. Who does it:
//
//	console   what is said; its end goes with the report; keyboard and display belong to it
//	front     what the page says
//	site      how machine and servers know each other: signed list, key
//	disk      open, recover, judge the volume inside
//	records   the agent's own in the journal: what a later start must know, trusted metadata
//	network   connect, check-in, progress, report; the clock
//	store     plan: signatures, what a version takes, which disk
//	writer    merge, heal, stage, provision, reinstall
//	naming    what is the machine's own in Windows
//	bootFiles Windows Boot Manager on the ESP: of the version that starts, and never an older one
//	          (package chainload/bootfiles)
//	windows   firmware, hand-off, restart
//	ownCopy   the agent's own copy on the ESP
//
// Drivers are loaded for as long as the start goes on (package coldplug), so a disk or a network
// card may come late: a disk is waited for 15 s, a network port as long as a link. Package
// diskwriter/blockdev says which disks may be the machine's: none on USB, no card. The lines above
// the one that says why a start failed say what the machine is made of (package hardware).
//
// Nothing is written before the NTFS volume was judged, every file was mapped and compared with
// what the journal recorded, and the plan was found to fit. What a start only learns (trusted
// metadata) goes to the journal together with the first thing that is written, or at the end of a
// start that went well; the hand-off is counted there before it is made, and a machine without a
// key puts one there when it has opened its disk. "The disk is unchanged" means all but these
// records, boot files on the ESP that were not right, and the mailbox.
//
// # Servers
//
// A server is taken by its key, which the newest signed list names that media and journal have. It
// is looked for, in this order, where that list says, the media, an earlier start, and DHCP; or
// only where a person typed. If no server shows a key of the list, the signed metadata is fetched
// from the same places without asking for keys, and a newer list is in the journal before its
// servers are asked. An order that names another list has the machine fetch it, also if it has
// nothing to do. A machine that has no key, because its disk is bare or lost its journal, makes
// one; on a bare disk it is the first thing in the new journal.
//
// Going back needs the admin's signature. What counts is the newest version of the image that this
// machine ever had, which the journal keeps: neither another image in between nor a reinstall that
// was cut off is a way round.
//
// A reinstall that was begun leaves nothing that Windows could start: such a machine restarts into
// the agent until it is finished. So does one whose disk holds a change that is half carried out
// and cannot be finished now, and one that can start nothing else.
//
// A machine that was started by a BIOS checks in, reports, and stops with exit code 3: nothing is
// written, not even the journal, and it is not restarted, for that would end here again.
//
// # Its own copy
//
// With a release of the agent in the order (troy agent publish) the agent
// installs itself on the ESP, first in BootOrder; the stick or the network that started it is
// needed once. From there it replaces itself by newer releases, in the other copy, tried at the
// next start and kept after its report (package chainload/selfboot). What is given to the copy is
// the release as it was signed, site's files in its initramfs included, and the kernel arguments of
// the start that fetched it, but for troy.shell and troy.disk. A release that did not come up is
// said at every start and neither fetched nor tried again, until another one, or an order to try
// again, which counts once for each failure. One that came up, and whose server was too old for it,
// is tried again by itself when the server speaks a protocol of it. A stick does not install what
// failed, or what is on trial, on this machine. An update comes before Windows is started, and
// costs one more start.
//
// At the end of each start from the ESP the agent sees to its boot entry, and to the file that
// firmware starts without one (\EFI\BOOT\BOOTX64.EFI).
//
// # Names in Windows
//
// What an order says of the machine's own (name, numbers of the registry, texts) is written over the
// fields of the version that starts (package image/fields), into the empty boot child: after each
// commit, reset, rollback and reinstall, before the hand-off (diskwriter/machine, Personalise). The
// fields are those of the signed manifest. \Troy\machine.json inside the image gets name, host, room
// and values as JSON.
//
// The journal knows before a version is committed what is to be written there, and which order that
// is of (a hash, secrets included), so that a start without a server can write it, and one with a
// server need not ask the store again. It has no secrets: without a server their places stay as
// published, and the page, the check-in and the report say so.
//
// Where the room says identity: required, a version without a place for all of it is neither fetched
// nor committed. Otherwise what has a place is written. What is there already starts in any case. On
// a session another name waits for the next reset; it comes at once where Windows wrote nothing.
//
// # Without the agent
//
// Where the room has starts: direct, GRUB may start Windows without this agent (package
// chainload/selfboot). What allowed that is taken back as soon as the disk is open, before anything
// is written; if that fails, nothing is. It is allowed again as the last act of a start that left
// nothing to do (step direct of package decide), once the journal knows it. How often GRUB did it, the
// check-in says ("direct").
//
// That the last hand-off was judged is in the journal at once, with the state of the boot child:
// what Windows writes after that, without another hand-off, was not started by the agent. The
// check-in says so ("without"), and the report says when the agent will not start again by itself
// ("leaves").
//
// # Known gaps
//
//   - A download that is cut off in a reinstall goes on at its last checkpoint (a piece of 256
//     MiB), not at the chunk.
//   - Whether Windows ran is read from the boot child (its DataWriteGuid) and from the NTFS
//     volumes inside; nothing is asked of Windows itself. How often it ran is not known: after
//     a hand-off, further starts without the agent show only in the boot order, and in silence.
//   - A new agent that hangs on its trial stays there until a person restarts the machine; that
//     start is the old one's. One that breaks, or whose kernel cannot be loaded, starts Windows.
//   - A file config that was edited on a stick does not go along to the ESP: what counts there
//     is in the release.
//   - Releases of the agent are held in memory while they are written to the ESP (about 30 MB).
package agent
