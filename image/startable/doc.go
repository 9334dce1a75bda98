// Package startable answers whether a PC can start an image, with reasons and what to do about
// each. Who publishes asks it before anything exists.
//
// # Promises
//
// Check looks at a virtual disk and gives all that it finds, the worst first. What makes no PC
// start (no Windows, an NTFS volume larger than its partition, compressed boot files, sectors of
// another size) is published only by force; what must not be copied to PCs at all (BitLocker, a
// hibernated Windows, one that is joined to Entra ID or enrolled in an MDM) never; secrets in
// answer files only if the admin allows that. The rest are warnings. What cannot be read is a
// finding, never silence, and never a panic: everything on the disk is a claim.
//
// The boot files are read as the agent reads them (package bootfiles): what passes here does not
// fail there. Which partitions count, and whether setup is still to run, say the packages that the
// agent asks as well (blockdev.Volumes, setup).
//
// ReadDrivers gives the ids of devices for which a Windows has a driver, to compare with what PCs
// report.
//
// # What is read
//
//	SYSTEM    Select\Current; Setup (package setup); Setup\Status\SysprepStatus, AuditBoot;
//	          Control\CloudDomainJoin\JoinInfo; Services\Tcpip\Parameters; DriverDatabase\DeviceIds
//	SOFTWARE  Microsoft\Enrollments; Microsoft\Windows\CurrentVersion\Setup\State
//	SECURITY  Policy\Secrets\$MACHINE.ACC, by its name alone
//	DRIVERS   DriverDatabase\DeviceIds (newer releases of Windows keep most of it there)
//
// Files with "unattend" in their name in the folders where setup looks for answers.
//
// # Known gaps
//
//   - No disk of a real Windows was at hand, only hives of Windows 7, 8.1 and 10; what Entra ID,
//     Intune and an interrupted sysprep leave is taken from Microsoft's pages and scripts of admins.
//   - The logs of a hive are not read: one that was not closed may hold older values, and a warning
//     says so.
//   - Passwords in the registry (automatic logon), in scripts and in commands are not found.
package startable
