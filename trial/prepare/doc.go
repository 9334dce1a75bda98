// Package prepare makes a Windows into that of a trial: it starts a program of ours that says what
// it finds (package inside).
//
// # From an installation medium
//
// The Windows gets the program by an answer file ([Answer]): a local account without a password,
// all questions of setup answered, no network needed, and a first logon that runs the script of the
// trial's disc. Nothing in the file is secret.
//
// # From a disk
//
// [Disk] copies the disk of an installed Windows into the trial's folder, as a raw image with
// holes. The given file is only read. A small Linux in a virtual PC, whose init is the program that
// runs already ([Inside]), mounts the volume of the copy by ntfs3 and writes:
//
//	\Troy\GATES.EXE                        the program
//	\Troy\trial.bin, \Troy\ballast.bin     the two files of package inside, without holes
//	\Windows\System32\config\SYSTEM        with the service, in the control set that starts next
//
// If the setup of that Windows has still to run, it gets the answer file instead. No root is
// needed, and no change to the host.
//
// # Promises
//
// A volume that is hibernated, not dismounted, damaged or encrypted, and a registry that was not
// closed, are refused before anything is made. The hive is edited by hivexsh on the host and read
// again before it goes anywhere. What Linux wrote is looked at by our own code: the volume is
// clean, and all files are there, whole. A copy that fails is deleted.
//
// # Order of writes
//
// None counts: the copy is used only when all of it was done.
//
// # Known gaps
//
//   - No setup of Windows has read such an answer file; its elements are those of Microsoft's
//     reference. No Windows has started with such a hive or from such a copy.
//   - Files that ntfs3 makes have its default access rights and attributes for Linux (in EAs).
//   - An answer file is written where setup looks first among the folders that are there; one that
//     lies there is written over.
package prepare
