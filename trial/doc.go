// Package trial is troy try: it takes an installation medium or a disk image through everything that
// Troy does, with virtual PCs and the real commands, and writes down what came out.
//
// # What is done
//
// A trial has one folder. In it are a store, a server that listens on 127.0.0.1 only, the disks of
// two virtual PCs, and what was found. The commands of Troy are run as an admin runs them; nothing
// of them is linked in here. [Trial.Run] goes through the steps of steps.go in order:
//
//	store      a store with its own keys, the image as version 1, boot media, the server
//	provision  PC A, whose disk is bare, is made from the stick; its power is cut twice meanwhile;
//	           Windows is set up
//	capture    what A holds is published as version 2
//	change     Windows changes its disk, and what changed is published as version 3
//	update     PC B is made with version 2 and gets 3: a chain of three boots
//	reset      both PCs are reset, and what Windows had written is gone
//	cuts       the power is cut N times while B gets further versions; a whole version is there each time
//	dirty      the power is cut while Windows writes, and the firmware starts Windows, not the agent
//	broken     a version that cannot boot is published, and given up for the one before
//	full       Windows fills its drive
//	clock      the clock is wrong by decades, either way, and a version comes all the same
//	gates      the test disks of troy gates make are tried inside Windows (a real one only)
//
// Versions after 3 differ from the one before in the ballast alone (package inside), which is
// written into a child of it from outside.
//
// # What is looked at
//
// Each start ends by itself: the program in Windows leaves its record and shuts Windows down. Then,
// and after each cut, the disk is looked at from outside ([Look]): the volume and the files on it as
// the agent judges them, the chain, the volume in it, the ballast, the record. A start is right if
// its record is there, the ballast in it and outside is all of one version, the one that the journal
// names, the volume inside was closed in order, and Windows noted no errors of disks.
//
// # Network
//
// A virtual PC reaches two addresses and nothing else (QEMU's user network, restrict=on): the
// trial's server, and the trial itself, which the program in Windows tells that it is up. For each
// connection QEMU runs Options.Relay. No root is needed, and the host's network stays as it is.
// Options.Online opens the way out; that is refused for an image that is joined or enrolled.
//
// # The folder
//
//	trial.json     what was asked for, which steps are done, what was found so far
//	troy.log       what the commands said
//	store/, media/ as troy init and troy media make them
//	pc-a/, pc-b/   disk, firmware variables, TPM, serial logs of every start, pictures of the screen
//	golden/        what PC A held, as version 2, and the children of it that are the versions after
//
// trial.json is replaced at once (write, sync, rename) after each step and each cut. A trial that was
// interrupted goes on there: the step is begun again with the disks as they are, which is what Troy
// promises for a PC. Only one trial at a time has a folder (flock). All processes end with the one
// that runs the trial, also when it is killed.
//
// # Known gaps
//
//   - A cut ends QEMU: what the guest wrote is in the image, flushed or not. What a disk's own cache
//     loses is shown by the tests of package diskwriter instead.
//   - The two PCs run one after the other.
//   - Of a stand-in for Windows the result says so, and no gate is answered.
package trial
