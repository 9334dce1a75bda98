// Package coldplug loads the drivers of the devices that a machine has.
//
// The kernel of the initramfs has its drivers as modules and no udev runs. Each device shows a
// modalias below /sys/bus, in a file of that name or, as eMMC and SD cards do, in its uevent;
// modules.alias says which module serves it, modules.dep and modules.softdep what must be loaded
// before. A driver may bring up a bus with further devices (a USB controller, its disk, the disk's
// SCSI device), so each look is repeated until one finds nothing new.
//
// Buses are probed by the kernel in its own time: usb_storage waits a second before it looks at a
// disk, a network card in a dock sits behind three hubs. [Plugger.Settle] waits until the buses
// look done; [Plugger.Follow] goes on for as long as its caller wants, and costs nothing until the
// kernel tells of a device (NETLINK_KOBJECT_UEVENT).
//
// # Promises
//
//   - A module is tried once in the life of a [Plugger], whatever the outcome,
//     and only after all that it depends on.
//   - A module that fails does not keep the others from being loaded; all
//     failures come back joined, each a [LoadError].
//   - A module that is already loaded is not a failure.
//   - A device that comes while Follow runs gets its driver, however late it is. Where the kernel
//     gives no socket for its messages Follow looks every second.
//
// # Formats
//
// modules.alias: "alias PATTERN MODULE", where PATTERN is a shell pattern with
// *, ? and [...] as fnmatch(3) knows them without flags. modules.dep:
// "PATH: PATH ..." relative to the folder. modules.softdep: "softdep MODULE
// pre: MODULE ...". All three are written by package initramfs/kmod.
//
// # Known gaps
//
// Firmware files are not carried, so chips that cannot work without (bnx2) load their driver and
// stay dead.
package coldplug
