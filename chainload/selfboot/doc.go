// Package selfboot keeps the agent on the machine's own ESP, so that a stick or
// the network is needed once, and replaces it there by newer releases.
//
// # What it promises
//
//   - Everything lies in \EFI\Troy, but for what firmware starts without a boot
//     entry: \EFI\BOOT\BOOTX64.EFI and two files beside it (see Without boot entries).
//     Nothing else on the ESP is written, removed or looked into.
//   - What the firmware starts first is never written to, and neither is what
//     runs: a new release goes into the other of two copies. From the first
//     installation on there is a whole copy first in BootOrder at every instant.
//   - A copy counts only with a manifest, which is written last and removed first.
//     Every file is read back from the disk before that.
//   - A new release is started once, on trial. It becomes the first only when it
//     was started and has reported (Confirm). One that does not come up leaves
//     the old one in place and is not tried again.
//   - What is refused (a bad release, a file that is not what its hash says, an ESP
//     too full) is refused before anything is changed, the error says so.
//
// # How it is started
//
//	Boot#### "Troy"       \EFI\Troy\a\shimx64.efi    the first of BootOrder
//	Boot#### "Troy (B)"   \EFI\Troy\b\shimx64.efi
//	shim                  starts grubx64.efi beside itself
//	GRUB                  reads grub.cfg beside itself, starts vmlinuz with initramfs.cpio.zst
//
// The same way serves machines with Secure Boot on and off; no key is enrolled.
// GRUB has to be a build of Debian's that reads grub.cfg from the directory it was
// started from (package grub): of 2.06 the one for CDs, gcdx64.efi.signed, which
// before that looks for \boot\grub on the ESP and for /.disk/info on all disks; of
// 2.12 the one for disks, grubx64.efi.signed. The other builds read a file that
// belongs to others, or end in a prompt; they are refused.
//
// # Without boot entries
//
// Firmware that lost its boot entries (an update of it, an empty battery, "load defaults") starts
// \EFI\BOOT\BOOTX64.EFI. Left to Windows Boot Manager, such a PC would start Windows for ever
// without the agent. Fallback puts there
//
//	BOOTX64.EFI    the shim of the copy that runs
//	grubx64.efi    its GRUB, which shim starts: it takes what lies beside itself
//	grub.cfg       runs the grub.cfg of a copy that has a manifest, the one that ran last first;
//	               starts Windows when there is none
//
// The agent that comes up makes the boot entries
// again (Ensure, chainload.HandOff). Nothing is written unless BootOrder has the running copy and
// there is an entry of Windows: until it is finished the firmware does not need it. It is written
// at the end of the first start from the ESP, renewed when a newer release brings another shim or
// GRUB, and when somebody wrote over it (bcdboot does). Package bootfiles writes it only where no
// copy is on the ESP. An agent on trial, or from a stick, does not write it.
//
// In that folder shim looks for fbx64.efi first, which makes boot entries of the files BOOTX64.CSV
// of all systems on the ESP. None is put there. Where another system has one, the folder is that
// system's and is left alone, and it is said (ErrOthers).
//
// The kernel is given troy.copy=a or b: that is how the agent knows which copy
// runs. Media do not have that word.
//
// # Format
//
//	\EFI\Troy\a\, b\           the files of a release, grub.cfg, manifest.json
//	\EFI\Troy\grubenv          GRUB's environment block, 1024 bytes
//	manifest.json              one line of JSON (format, version, files with size and
//	                           SHA-256), one line with the SHA-256 of the first; it
//	                           never needs a word (internal/format)
//
// next_entry in grubenv orders GRUB to start something else once: "windows"
// (chainload.ByGRUB), or the other copy. GRUB forgets the order before it
// follows it; if it cannot write that, it does not follow. It is written in
// place, by the agent and by GRUB, so FAT itself does not change. When kernel or
// initramfs cannot be loaded GRUB starts Windows.
//
// # Direct starts
//
// Where a room has starts: direct, the agent allows GRUB to start Windows without it, and without
// Linux and a reset (chainload.AllowDirect, as its last act). GRUB does so only if all of this holds:
//
//	direct=y, made is 0 to 3    the block is whole; every fifth start is the agent's
//	next_entry is empty         no other order
//	SMBIOS, wake-up type        0, 1, 2 (not known), 6 (power switch), 8 (mains): neither network nor timer
//	Esc is not pressed          for 2 seconds
//	made+1 can be written       so that each is counted before it is made
//
// made keeps its length, so counting changes one byte. An agent that comes up by any way takes the
// permission back before it writes anything else (chainload.TakeDirect).
//
// None of Debian's signed GRUBs can tell the time (no datehook, and Secure Boot lets no module be
// loaded), so windows are known by what switched the PC on, not by the clock.
//
// # Order of writes
//
// Install and Update, into the copy that is not first and does not run:
//
//	all files of the release are read and compared; room is counted
//	manifest.json removed, synced       half a copy is not taken for one
//	the old files removed
//	each file written, fsync
//	synced; all files read back from the disk
//	grubenv, if there is none
//	manifest.json, fsync
//	unmount, which writes all of the ESP out
//	Boot#### of the copy, if missing, last in BootOrder
//	Install: BootOrder with the copy first
//
// Fallback, when BootOrder has the copy and there is an entry of Windows:
//
//	each file that differs as NAME.new, fsync       grub.cfg, grubx64.efi, BOOTX64.EFI
//	each read back, renamed, synced, read back      in the same order
//	unmount, which writes all of the ESP out
//
// A trial (the caller keeps State, in the journal of package diskwriter/machine):
//
//	Update     writes the copy; State.Trial
//	caller     keeps State
//	Arm        BootNext = the copy, or grubenv where the firmware refuses that
//	caller     resets; the new agent starts, Judge says OnTrial, it reports
//	Confirm    BootOrder with the copy first
//	caller     keeps State without the trial
//
// Any other start in between is one of the old agent: Judge says TrialFailed. Where the new one has
// noted that it only lacked a newer server (Trial.Protocol), it is tried again once the server is
// upgraded (State.Refuses).
// A power cut after the State was kept and before Arm counts as a failed trial
// as well: the machine stays with its old agent, and says so, until an order
// (State.Forget) or a newer release. A cut after Confirm has Confirm called
// again, which does nothing.
//
// # Known gaps
//
// FAT has no journal. A power cut while a copy is written can leave lost
// clusters; they are not collected. A cut while FAT sectors or directories
// are written is trusted not to tear a sector of 512 bytes. The kernel writes data
// and file tables in its own order between two syncs.
//
// An initramfs is not signed for shim: a party that can write to the ESP can change it.
// Rot in it is seen by Inspect, which the agent calls when it runs, not by GRUB.
// A copy that was confirmed and then fails to come up, without its files being
// missing, is not left for the other one: the firmware starts it again.
// While a medium with /.disk/info (an ISO image of Debian, or ours) is plugged in,
// GRUB reads that medium's configuration instead. Firmware that takes BootNext and
// ignores it fails every trial; the old agent stays.
//
// Between two renames of Fallback the folder may hold a GRUB of one release and the shim of
// another; both are Debian's. Within one, the file may have two names. A copy that has a manifest
// but rots is not seen by GRUB and not left for the other one.
//
// Where the firmware refuses new entries the copy lies on the ESP unused, and
// the error is chainload.ErrFirmware. Not tried on firmware other than OVMF.
package selfboot
