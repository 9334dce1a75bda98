// Package secureboot says which programs the firmware of a machine starts while Secure Boot is on:
// Windows Boot Manager, shim, and what shim starts. The agent asks it before it touches the boot
// files, and tells the server what it read; the server asks it about the programs of its store.
//
// # What is read
//
//	db, dbx        EFI_SIGNATURE_LISTs (UEFI 2.10, 32.4.1): certificates by their common name, hashes of
//	               programs, and what Microsoft keeps among the hashes of dbx (below)
//	SecureBoot     whether it is on (UEFI 2.10, 3.3)
//	SbatLevelRT    the least generations, as shim shows them at run time (shim, SBAT.md): lines of
//	               NAME,GENERATION, the first of which is sbat,1,DATE
//	programs       PE32+ (Microsoft, PE Format): the Authenticode hash, issuers of the signatures, the
//	               section .sbat, and two resources of Windows Boot Manager
//
// # The security version of Windows Boot Manager
//
// Boot managers since 2024 carry their security version number (SVN) as the RT_RCDATA resource
// BOOTMGRSECURITYVERSIONNUMBER: two little-endian 16-bit numbers, minor and major. Windows raises
// the least one in dbx (KB5025885), where it looks like a hash: a byte 1, the GUID
// 9d132b61-59d5-4388-ab1c-185c3cb2eb92, minor, major, zeros. dbx survives each reset,
// reinstallation and rollback; nobody lowers it but a reset of the firmware's keys.
//
// A boot manager's Version is its SVN, and where that is equal its file version (VS_FIXEDFILEINFO).
// What has neither is older than what has one. A program whose signature names another hash than it
// has is damaged, and counts as one without a version.
//
// # SBAT
//
// A program with a section .sbat states the generation of each component that it is made of. shim
// starts neither itself nor another program if one of them is below the level of the machine, nor a
// program without that section. Windows Boot Manager has none and is not asked.
//
// # Known gaps
//
//   - Signatures are read, not verified: whoever made a program is taken from the names of the
//     issuers. The firmware verifies.
//   - Certificates that dbx revokes by the hash of their body (EFI_CERT_X509_SHA256) are not looked
//     at; nor are keys that an owner added to shim (MOK).
//   - The firmware does not tell when dbx was written. The date is the newest time of revocation
//     that stands in it, if one does.
package secureboot
