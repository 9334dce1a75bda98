// Package bundle is the boot bundle: a folder with all that boot media of any site have in common,
// made once from a checkout (package initramfs, "make bundle") and part of the Debian package. What
// a site adds, package initramfs/media lays beside it; the files of the bundle stay as they are.
//
//	shimx64.efi           shim, signed by Microsoft
//	grubx64.efi           GRUB for disks, gcdx64.efi for CDs, grubnetx64.efi for networks, as Debian
//	                      signed them
//	vmlinuz               Linux, as Debian signed it
//	initramfs.cpio.zst    the agent, drivers and programs
//	rescue.cpio.zst       a shell and tools, for rescue media: laid over the initramfs
//	copyright             the licences of all that
//	SOURCE                where its source is, as the GPL asks
//	manifest.json         size and SHA-256 of each file, versions, Debian packages, Go modules
//
// # Promises
//
// The manifest is written last. Open refuses a folder without one, or with a file that is missing
// or has another size; Read compares a file with its hash. So a bundle that was copied in part, or
// mixed of two, makes no media. The hashes find damage, not malice: who can write to the folder can
// write all of it, and decides what PCs start.
//
// # Known gaps
//
// The names of the files are fixed; a bundle for another architecture needs others.
package bundle
