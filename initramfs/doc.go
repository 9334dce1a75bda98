// Package initramfs makes the boot bundle, which all sites have in common, and the media that start
// it: a stick, an ISO image, a tree for network boot, the agent's release. It holds no product code;
// the agent comes in as a Go package that is named to it.
//
// # What is in the initramfs
//
//	/init           what the kernel starts: a link to the agent, which starts u-root's init without
//	                its banner
//	/bbin/bb        u-root's init and modprobe as one program (gobusybox), a link for each
//	/bin/deploy     the agent, a program of its own
//	/bin/uinit      what init starts: a link to the agent, which supervises itself
//	/bin/…          mkntfs and ntfs-3g of the machine that built it, with their libraries in /lib, /lib64
//	/lib/modules/   kernel modules for common PCs with all that they depend on
//	/sbin/modprobe  for modules that the kernel itself asks for
//
// The boot loaders give the kernel a second file, site.cpio, which it unpacks over the first
// ([Site]; Documentation/driver-api/early-userspace/buffer-format.rst of Linux). It holds what the
// admin gave:
//
//	/etc/troy/      config, root.json, servers.json, built
//
// On rescue media that file begins with the bundle's rescue.cpio.zst, u-root's shell and tools; their
// /bin/uinit is a script, the agent and then a shell, /bin/defaultsh the shell alone. On all others
// nobody comes to a prompt.
//
// Modules lie there decompressed: the whole archive is compressed once, which is
// smaller than compressed modules in a compressed archive, and the kernel unpacks
// it faster. Their signatures are kept, so they load under Secure Boot's lockdown.
//
// Size, compressed (2026-11, Linux 6.12, Go 1.26): u-root 1.1 MB, 104 drivers 3.3 MB, programs
// 1.1 MB, agent 4.4 MB; 9.9 MB in all. A test holds it under 12 MiB.
//
// # The media
//
// All of them carry kernel and initramfs of the bundle, byte for byte, and the same site, and start
// them with the same arguments.
//
//	medium                    starts with                          Secure Boot
//	USB (Boot)                shim, GRUB (grubx64), kernel         on or off
//	ISO                       shim, GRUB (gcdx64), kernel          on or off; CD, stick, UEFI HTTP boot
//	Net: shimx64.efi          shim, GRUB (grubnetx64), kernel      on or off; PXE
//	Net: snponly.efi          iPXE, kernel's own EFI stub          off; PXE
//
// Shim is signed by Microsoft, GRUB and kernel by Debian: no key has to be enrolled in any machine.
// When GRUB cannot load something it says so, waits ten seconds and starts Windows Boot Manager, if
// the machine has one, else the machine again. Its editor and command line are locked. On a stick an admin may add kernel arguments with any editor, in
// \troy\arguments.cfg; certificate and root metadata are in the initramfs and cannot be changed
// there.
//
// A PC that boots stick or ISO image as a BIOS does shows that Troy needs UEFI, and stops.
//
// # Promises
//
//   - The same options, sources, kernel, programs, Go and zstd versions give the same bundle; the
//     same bundle, site, mtools and xorriso the same media. Times are fixed, records sorted,
//     identifiers derived from the content.
//   - An output file is replaced only by a finished one.
//   - Kernel and modules that do not belong together are refused ([ErrKernelMismatch]), as is a
//     kernel that is too old ([ErrOldKernel]), a driver whose dependency is absent, a boot loader or a
//     program that is not there ([ErrNoLoader], [ErrProgram], [ErrLibrary]).
//   - The agent is compiled as the rest of the module is, see agentFile in programs.go.
//
// # Kernel arguments
//
// The media start the kernel with "quiet loglevel=3" and what [Boot].Cmdline says, mostly consoles.
// The file config on the media holds words of the same form, which the kernel command line
// overrides:
//
//	troy.server=URL[,URL]…     servers, mirrors in their order
//	troy.ip=…, troy.port=…     a static address in place of DHCP, the ports to use: see package netfetch/params
//	troy.disk=/dev/…           work on this disk only
//	troy.shell                 stop in a shell instead of restarting the machine; rescue media only
//
// # Formats
//
// cpio "newc", one archive behind the other, each in one zstd frame
// (Documentation/filesystems/ramfs and driver-api/early-userspace of Linux); GPT with one FAT32 EFI system partition and
// \EFI\BOOT\BOOTX64.EFI (UEFI 2.10, 3.5.1.1); ISO 9660 with Rock Ridge and El Torito.
//
// # Programs it needs
//
// For the bundle: the go command and zstd; Debian's shim-signed, grub-efi-amd64-signed and ipxe,
// installed or unpacked. For media: the mtools for [USB] and [ISO]; xorriso for [ISO].
//
// # Known gaps
//
//   - iPXE is not signed: with Secure Boot on it does not start. It stays beside GRUB because the GRUB
//     of Debian 12 (2.06) does not hear proxyDHCP (package server/netboot), so that a site whose DHCP
//     server names nothing starts by iPXE only; GRUB 2.12 of Debian 13 would do. Time is no reason:
//     kernel and initramfs, 22 MB, took GRUB 27 s by TFTP and 35 s by HTTP, iPXE 21 s by HTTP
//     (BenchmarkNetLoad, one run each, in QEMU without hardware acceleration, two busy cores).
//   - Debian's signed GRUB looks for its configuration at fixed places: \EFI\debian\grub.cfg of the
//     stick, /grub/grub.cfg at the top of the TFTP server. The tree of [Net] cannot lie in a folder
//     of a TFTP server.
//   - Kernel arguments with quotes or backslashes are refused: GRUB does not hand them on as they
//     are.
//   - Files are traced to their Debian packages by dpkg, or by a file "control" beside what was
//     unpacked; elsewhere the bundle says that their source is not known.
//   - Revocation lists (SBAT, dbx) may one day refuse the shim and GRUB on old media: make new
//     ones.
//   - No firmware files are carried. Of the chips served, some wired Realtek ones
//     work without but slower to link; Wi-Fi is not served at all.
//   - Agent and rescue shell use one console, the last console= of the command line; on a PC with a
//     screen the agent of normal media shows a page there (package agent/screen). What a program
//     writes is lost if it resets the machine before the serial port has sent it: it has to drain
//     the terminal first (tcdrain).
//   - uroot.uinitargs= of the kernel command line does not reach the agent, which
//     reads the command line itself.
//   - Programs does not find what a program loads by dlopen.
//   - One architecture, x86-64.
package initramfs
