// Package initramfs makes what a machine boots: the initramfs, a unified kernel
// image (UKI) of it, and a USB image. It holds no product code; the agent comes in
// as a Go package that is named to it.
//
// # What is in the initramfs
//
//	/init           u-root's init, one of the links to /bbin/bb
//	/bbin/bb        u-root's commands as one program (gobusybox), a link for each
//	/bin/deploy     the agent, a program of its own
//	/bin/uinit      a script that init starts: the agent, then a rescue shell
//	/bin/defaultsh  the rescue shell alone
//	/lib/modules/   kernel modules for common PCs with all that they depend on
//	/sbin/modprobe  for modules that the kernel itself asks for
//
// Modules lie there decompressed: the whole archive is compressed once, which is
// smaller than compressed modules in a compressed archive, and the kernel unpacks
// it faster. Their signatures are kept, so they load under Secure Boot's lockdown.
//
// # Promises
//
//   - The same options, sources, kernel and Go version give the same bytes, of the
//     initramfs, the UKI and the USB image. Times are fixed, records sorted,
//     identifiers of the USB image derived from its content.
//   - An output file is replaced only by a finished one.
//   - Kernel and modules that do not belong together are refused
//     ([ErrKernelMismatch]), as is a driver whose dependency is absent.
//   - The agent is compiled as the rest of the module is, see agentFile in programs.go.
//
// # Formats
//
// cpio "newc" in one zstd frame (Documentation/filesystems/ramfs and
// driver-api/early-userspace of Linux); PE/COFF with the sections of the UKI
// specification of the UAPI group; GPT with one FAT32 EFI system partition and
// \EFI\BOOT\BOOTX64.EFI (UEFI 2.10, 3.5.1.1).
//
// # Programs it needs
//
// The go command, systemd's EFI stub (systemd-boot-efi) for [UKI], the mtools for [USB].
//
// # Known gaps
//
//   - The UKI is not signed: with Secure Boot on it does not start.
//   - No firmware files are carried. Of the chips served, some wired Realtek ones
//     work without but slower to link; Wi-Fi is not served at all.
//   - Agent and rescue shell use one console, the last console= of the command
//     line. What a program writes is lost if it resets the machine before the
//     serial port has sent it: it has to drain the terminal first (tcdrain).
//   - uroot.uinitargs= of the kernel command line does not reach the agent, which
//     reads the command line itself.
//   - One architecture, x86-64.
package initramfs
