// Package winpc is what troy-gates.exe needs of the Windows that it runs in: the virtual disk API
// (virtdisk.dll), and what kind of PC and Windows this is. On other systems it says that nothing of
// it is there.
//
// The API works without Hyper-V, in every edition, for administrators. Disks are attached without a
// drive letter, and read and written as \\.\PhysicalDriveN, in whole sectors.
package winpc
