// Package decide says what a machine does at a start, and why. It is pure: the agent gathers facts
// (disk, journal, firmware, network, order) and does the steps; which steps, and in which order, is
// decided here and nowhere else.
//
//	for {
//		step := Decide(facts)[0]
//		result := do(step)             // if it ends the start, this does not return
//		facts.Done = append(facts.Done, result)
//		facts = what is found now
//	}
//
// # Promises
//
// They hold for any facts, and for any step that fails; a random test with a model of the disk
// holds them (TestRandom).
//
//   - A start ends after a bounded number of steps.
//   - It ends in Windows wherever a whole version is on the disk, unless the firmware cannot start
//     it, the machine is in use, or another agent is started first.
//   - After a step on the disk that failed, the disk is opened again and recovered before anything
//     else. A change that is half carried out is never started.
//   - What a later start must know is in the journal before it is acted on: that a version is given
//     up, that it is tried again, the rules of the room, the hand-off.
//   - Nothing is written that needs a permit without it: a disk made into one of Troy's, a version
//     written over one that is unknown, damaged, or of another image. The admin's permits (a
//     downgrade, a wipe, a reinstall over what starts) are asked of the store by Plan.
//   - What changed is only brought onto a version that is the store's, by the hash of its manifest:
//     a number alone may be another store's. What the journal does not name is compared first.
//   - While a mark is set (Marks) the version on the disk and its session stay as they are. Only a
//     reinstall that was begun is finished: no session is left. A session that holds what setup made
//     of a version is not reset by a rule, either: the version itself was never set up. The mark of a
//     setup ends with it, or by the admin's order, which also may discard what setup has done.
//   - A machine is named before Windows starts: what it is called in a version is in the journal
//     before the version is committed, so that the next start can write it, without a server too.
//     Where identity: required cannot be kept, the version is not committed; but naming that fails
//     never keeps a version that is on the disk from starting. A session is never discarded for a
//     name, nor is Windows started without the agent while it lacks one.
//
// # Health
//
// The journal counts hand-offs; package chainload judges them after the disk was recovered, so that
// the verdict and the merge see the same. Only a failing version leads back, and only where the one
// below is in the slots. Otherwise Windows starts every time, after a pause of 10 s that doubles up
// to 2 minutes, and that a person can skip.
//
// # Waiting
//
// Whatever a server says, Windows starts after 5 minutes of waiting for it in all, or after an hour
// in a start that a wake-up call caused, or in a window that an earlier order had announced. W on
// the console ends each wait, never a reset that is due nor work that was begun.
//
// # Network
//
// The step connect says how long the network is waited for: in full (60 s, or what the last order
// or the kernel arguments say) in a window of the room, after a wake-up, and where no Windows can be
// started or nothing is known of windows; else 10 s. What an order says of it is kept, and counts
// from the next start.
//
// # Table
//
// Facts on the left, what Decide answers on the right. A list ends where a result has to be known
// first, or with the step that ends the start. A test holds this table.
//
//	The beginning
//	  nothing is known yet
//	      → open
//	  the disk is opened
//	      → recover, judge
//	  recovered and judged
//	      → connect, check-in
//	  a step failed
//	      → open
//	  opened again after it
//	      → recover, connect, check-in
//	  started by a BIOS
//	      → connect, check-in
//	  no disk of Troy
//	      → connect, check-in
//	  Windows has to repair its volume first
//	      → connect, check-in
//	Health
//	  good, in a slot
//	      → merge, connect, check-in
//	  a merge was begun
//	      → merge, connect, check-in
//	  unknown, in a slot
//	      → connect, check-in
//	  failing, the version below is there
//	      → note, rollback 1, connect, check-in
//	  given up, cut off before the rollback
//	      → rollback 1, connect, check-in
//	  failing, two slots
//	      → note, rollback 2, connect, check-in
//	  failing, the rollback failed twice
//	      → connect, check-in
//	  failing, no server, nothing below
//	      → boot files, pause 10 s, hand-off, count, windows
//	  the same, a third time
//	      → boot files, pause 40 s, hand-off, count, windows
//	  the same, a tenth time
//	      → boot files, pause 120 s, hand-off, count, windows
//	  failing, a new version is wanted
//	      → plan stage 3, stage 3, commit 3, boot files, hand-off, report, count, windows
//	  failing, the version below was given up as well
//	      → boot files, pause 10 s, hand-off, count, windows
//	  failing, nothing below, a retry is permitted
//	      → try again, boot files, hand-off, report, count, windows
//	Nothing is wanted, or it is there
//	  no server
//	      → boot files, hand-off, count, windows
//	  no server, reset: boot, Windows wrote
//	      → boot files, reset, hand-off, count, windows
//	  no server, reset: boot, the journal was lost
//	      → boot files, reset, hand-off, count, windows
//	  no version is wanted
//	      → boot files, hand-off, report, count, windows
//	  the version is there
//	      → boot files, hand-off, report, count, windows
//	  reset: boot is a new rule, Windows wrote
//	      → note, boot files, reset, hand-off, report, count, windows
//	  reset: update, Windows wrote
//	      → boot files, hand-off, report, count, windows
//	  no server, reset: key, Windows wrote
//	      → boot files, hand-off, count, windows
//	  the same, R was pressed
//	      → boot files, reset, hand-off, count, windows
//	  R was pressed, Windows wrote nothing
//	      → boot files, hand-off, count, windows
//	  R was pressed, the rule is now reset: update
//	      → note, boot files, hand-off, report, count, windows
//	  R was pressed once the machine is handed over
//	      → count, windows
//	  in a slot, merge: now
//	      → boot files, merge, hand-off, report, count, windows
//	  the server makes it wait
//	      → wait 40 s, check-in
//	  it has waited for 5 minutes
//	      → boot files, hand-off, report, count, windows
//	  the same, the machine was woken
//	      → wait 40 s, check-in
//	  the same, in a window that was announced
//	      → wait 40 s, check-in
//	  the same, in a room that is always open
//	      → note, boot files, hand-off, report, count, windows
//	  woken, it has waited for an hour
//	      → boot files, hand-off, report, count, windows
//	  a person ends the wait
//	      → boot files, hand-off, report, count, windows
//	  an agent on trial has reported
//	      → boot files, hand-off, report, confirm, count, windows
//	  a new release of the agent
//	      → boot files, agent, hand-off, report, count, windows
//	  it is to be started next
//	      → report, restart
//	  an order that is not understood
//	      → boot files, reset, hand-off, report, count, windows
//	  the same, with a release of the agent
//	      → boot files, agent, hand-off, report, count, windows
//	  the same, the agent is on trial
//	      → boot files, hand-off, report, count, windows
//	Another version is wanted
//	  merge: lazy
//	      → plan stage 2, stage 2, commit 2, boot files, hand-off, report, count, windows
//	  merge: now
//	      → plan stage 2, stage 2, commit 2, boot files, merge, hand-off, report, count, windows
//	  staged by an earlier start
//	      → commit 2, boot files, hand-off, report, count, windows
//	  and a new release of the agent
//	      → agent, commit 2, boot files, hand-off, report, count, windows
//	  the new agent is to be started next
//	      → report, restart
//	  it runs, on trial
//	      → commit 2, boot files, hand-off, report, confirm, agent, count, windows
//	  the window closed
//	      → boot files, hand-off, report, count, windows
//	  given up here
//	      → boot files, hand-off, report, count, windows
//	  given up here, retry is permitted
//	      → try again, plan stage 2, stage 2, commit 2, boot files, hand-off, report, count, windows
//	  the one below
//	      → plan rollback 1, rollback 1, boot files, hand-off, report, count, windows
//	  an older one without a signed permit
//	      → boot files, hand-off, report, count, windows
//	  both slots are in use, seen healthy
//	      → merge, plan stage 4, stage 4, commit 4, boot files, hand-off, report, count, windows
//	  both slots are in use, wrote at three starts
//	      → merge, plan stage 4, stage 4, commit 4, boot files, hand-off, report, count, windows
//	  both slots are in use
//	      → boot files, hand-off, report, count, windows
//	  the store cannot be reached
//	      → boot files, hand-off, report, count, windows
//	  the version needs a newer agent
//	      → boot files, agent, hand-off, report, count, windows
//	  the stage failed
//	      → recover, boot files, hand-off, report, count, windows
//	  the commit failed
//	      → commit 2, boot files, hand-off, report, count, windows
//	  the commit failed and was carried out by the recovery
//	      → boot files, hand-off, report, count, windows
//	The version is written as a whole
//	  another image, no permit
//	      → boot files, hand-off, report, count, windows
//	  another image, permitted
//	      → plan reinstall 2, reinstall 2
//	  another image, permitted, the window closed
//	      → boot files, hand-off, report, count, windows
//	  an unknown version, permitted
//	      → plan reinstall 2, reinstall 2
//	  the chain is damaged, no permit
//	      → hand-off, report, windows
//	  the chain is damaged, permitted
//	      → plan reinstall 2, reinstall 2
//	  the merge fails, permitted
//	      → plan reinstall 2, reinstall 2
//	  a reinstall was cut off
//	      → plan reinstall 2, reinstall 2
//	  a reinstall was cut off, another version is wanted
//	      → plan reinstall 3, reinstall 3
//	  a reinstall was cut off, another version is wanted and refused
//	      → plan reinstall 2, reinstall 2
//	  another image, the room wants it, no signed permit
//	      → boot files, hand-off, report, count, windows
//	  another image, planned while nothing started
//	      → plan reinstall 2, reinstall 2
//	  a reinstall was cut off, no server
//	      → again 60 s
//	  it is finished
//	      → open
//	  the parent was changed
//	      → heal
//	  the parent was changed, no server
//	      → hand-off, windows
//	  the parent cannot be healed, permitted
//	      → plan reinstall 2, reinstall 2
//	  no disk of Troy, no permit
//	      → hand-off, report, windows
//	  no disk of Troy, permitted
//	      → plan provision 2, provision 2
//	  the disk may not be wiped
//	      → hand-off, report, windows
//	  a larger disk, which the room does not wipe for
//	      → boot files, hand-off, report, count, windows
//	  the same, it does
//	      → plan provision 2, provision 2
//	  the same, in place of another image
//	      → plan provision 2, provision 2
//	  the same, under a mark
//	      → boot files, hand-off, report, count, windows
//	  the same, no signed permit
//	      → boot files, hand-off, report, count, windows
//	What the version is
//	  the number that is wanted, another manifest, no permit
//	      → boot files, hand-off, report, count, windows
//	  the same, permitted
//	      → plan reinstall 2, reinstall 2
//	  the store does not have what is on the disk
//	      → boot files, hand-off, report, count, windows
//	  the same, the version below is wanted
//	      → plan rollback 1, rollback 1, boot files, hand-off, report, count, windows
//	  another content is staged under the number that is wanted
//	      → plan stage 2, stage 2, commit 2, boot files, hand-off, report, count, windows
//	  another content of that number was given up
//	      → plan stage 2, stage 2, commit 2, boot files, hand-off, report, count, windows
//	  the journal does not say
//	      → verify
//	  it was compared, and is none
//	      → boot files, hand-off, report, count, windows
//	  it could not be compared
//	      → boot files, hand-off, report, count, windows
//	  an order to verify
//	      → verify
//	  the window closed
//	      → boot files, hand-off, report, count, windows
//	  it differs
//	      → boot files, hand-off, report, count, windows
//	  to adopt, it differs
//	      → plan adopt 2, adopt 2, commit 2, boot files, hand-off, report, count, windows
//	  to adopt another content of that number
//	      → plan adopt 2, adopt 2, commit 2, boot files, hand-off, report, count, windows
//	  the same, nothing differs
//	      → plan adopt 2, adopt 2, boot files, hand-off, report, count, windows
//	  to adopt, the version is equal and has its name
//	      → boot files, hand-off, report, count, windows
//	  to adopt, both slots are in use, merge: now
//	      → merge, plan adopt 2, adopt 2, commit 2, boot files, merge, hand-off, report, count, windows
//	  to adopt, an older one without a signed permit
//	      → boot files, hand-off, report, count, windows
//	Marks
//	  golden: failing, another version and reset: boot
//	      → boot files, pause 10 s, hand-off, report, count, windows
//	  setup pending: failing, another version and reset: boot
//	      → boot files, pause 10 s, hand-off, report, count, windows
//	  setup pending, the admin says it is over, reset: boot
//	      → end setup, boot files, hand-off, report, count, windows
//	  the same, another version
//	      → end setup, plan stage 2, stage 2, commit 2, boot files, hand-off, report, count, windows
//	  the admin leaves a setup, another version
//	      → leave setup, plan stage 2, stage 2, commit 2, boot files, hand-off, report, count, windows
//	  the admin leaves a setup, which begins again
//	      → leave setup, boot files, hand-off, report, count, windows
//	  that was done, its report was lost
//	      → boot files, hand-off, report, count, windows
//	  an order about the setup of another version
//	      → boot files, hand-off, report, count, windows
//	  set up in its session, reset: boot
//	      → boot files, hand-off, count, windows
//	  set up in its session, another version
//	      → plan stage 2, stage 2, commit 2, boot files, hand-off, report, count, windows
//	  held, no server, reset: boot
//	      → boot files, hand-off, count, windows
//	  held until a time that is past
//	      → boot files, reset, hand-off, count, windows
//	  held, reset: key, R was pressed
//	      → boot files, hand-off, count, windows
//	  golden, the same
//	      → boot files, hand-off, count, windows
//	  setup pending, the same
//	      → boot files, hand-off, count, windows
//	  set up in its session, the same
//	      → boot files, hand-off, count, windows
//	  held, the time is not known
//	      → boot files, hand-off, count, windows
//	The end
//	  the recovery failed twice, a log is left
//	      → again 60 s
//	  after a commit that failed the disk cannot be read
//	      → open
//	  nor at the second try
//	      → report, again 60 s
//	  Windows cannot be started
//	      → boot files, report, again 60 s
//	  started by a BIOS, has the order
//	      → report, stay
//	  in use
//	      → boot files, report, stay
//	Names in Windows
//	  no server, after a reset
//	      → boot files, personalise 1, hand-off, count, windows
//	  no server, reset: boot
//	      → boot files, reset, personalise 1, hand-off, count, windows
//	  no server, the name is not known for this version
//	      → boot files, hand-off, count, windows
//	  it has its name
//	      → boot files, hand-off, report, count, windows
//	  a new name, Windows wrote nothing
//	      → boot files, identity 2, personalise 2, hand-off, report, count, windows
//	  a new name, Windows wrote
//	      → boot files, identity 2, hand-off, report, count, windows
//	  the same, reset: boot
//	      → boot files, identity 2, reset, personalise 2, hand-off, report, count, windows
//	  another name than before, Windows wrote nothing
//	      → boot files, identity 2, reset, personalise 2, hand-off, report, count, windows
//	  the same, but the reset was cut off
//	      → boot files, personalise 2, hand-off, report, count, windows
//	  the secrets were not there
//	      → boot files, reset, personalise 2, hand-off, report, count, windows
//	  they are not there again
//	      → boot files, hand-off, report, count, windows
//	  the version has no place for a name
//	      → boot files, hand-off, report, count, windows
//	  another version
//	      → plan stage 2, stage 2, identity 2, commit 2, boot files, personalise 2, hand-off, report, count, windows
//	  the same, cut off before the commit
//	      → commit 2, boot files, personalise 2, hand-off, report, count, windows
//	  the new version cannot be named
//	      → commit 2, boot files, hand-off, report, count, windows
//	  the same, identity: required
//	      → boot files, hand-off, report, count, windows
//	  the version below, of another name
//	      → plan rollback 1, rollback 1, boot files, identity 1, personalise 1, hand-off, report, count, windows
//	  writing it failed
//	      → boot files, personalise 2, hand-off, report, count, windows
//	  it failed twice
//	      → boot files, hand-off, report, count, windows
//	  identity: off
//	      → boot files, identity 2, hand-off, report, count, windows
//	  the same, Windows wrote nothing
//	      → boot files, identity 2, reset, hand-off, report, count, windows
//	  the machine is not assigned any more
//	      → boot files, personalise 2, hand-off, report, count, windows
//	  the version is not known to the store
//	      → boot files, hand-off, report, count, windows
//	  golden
//	      → boot files, hand-off, report, count, windows
//	  held
//	      → boot files, hand-off, report, count, windows
//	  a setup that has not begun
//	      → boot files, personalise 2, hand-off, report, count, windows
//	  a setup that has begun
//	      → boot files, identity 2, hand-off, report, count, windows
//	  set up in its session, another name
//	      → boot files, identity 2, hand-off, report, count, windows
//	  starts: direct, it has its name
//	      → boot files, hand-off, report, count, direct, windows
//	  starts: direct, it lacks secrets
//	      → boot files, hand-off, report, count, windows
//	  starts: direct, no place for a name
//	      → boot files, hand-off, report, count, direct, windows
//	  starts: direct, it could not be noted
//	      → boot files, hand-off, report, count, windows
//	Starts without the agent (starts: direct)
//	  the version is good here
//	      → boot files, hand-off, report, count, direct, windows
//	  no server
//	      → boot files, hand-off, count, direct, windows
//	  the rule is new
//	      → note, boot files, hand-off, report, count, direct, windows
//	  the rule is now starts: agent
//	      → note, boot files, hand-off, report, count, windows
//	  the version was not seen good yet
//	      → boot files, hand-off, report, count, windows
//	  it was good before, not at the last start
//	      → boot files, hand-off, report, count, windows
//	  another version is brought
//	      → plan stage 2, stage 2, commit 2, boot files, hand-off, report, count, windows
//	  it waits for a permit
//	      → boot files, hand-off, report, count, windows
//	  a merge is left
//	      → boot files, hand-off, report, count, windows
//	  a version is staged
//	      → boot files, hand-off, report, count, windows
//	  something failed
//	      → boot files, hand-off, report, count, windows
//	  reset: boot
//	      → boot files, hand-off, count, windows
//	  reset: key
//	      → boot files, hand-off, count, windows
//	  golden
//	      → boot files, hand-off, report, count, windows
//	  held
//	      → boot files, hand-off, report, count, windows
//	  setup pending
//	      → boot files, hand-off, report, count, windows
//	  started from a stick, or another agent is on trial
//	      → boot files, hand-off, report, count, windows
//	  this agent is on trial
//	      → boot files, hand-off, count, windows
//	  it was, and is kept: its next start is to be seen
//	      → boot files, hand-off, report, confirm, count, windows
//	  an order that is not understood
//	      → boot files, hand-off, report, count, windows
//	  it is not assigned any more
//	      → boot files, hand-off, report, count, windows
//	  the firmware starts Windows first
//	      → boot files, hand-off, report, count, windows
//	  the hand-off could not be noted
//	      → windows
package decide
