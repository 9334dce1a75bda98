package blockdev

import "troy/internal/guid"

// Partition type GUIDs that Windows and UEFI use.
var (
	TypeESP         = guid.Must("c12a7328-f81f-11d2-ba4b-00a0c93ec93b") // EFI system partition
	TypeMSR         = guid.Must("e3c9e316-0b5c-4db8-817d-f92df00215ae") // Microsoft reserved
	TypeBasicData   = guid.Must("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7") // Windows data volume
	TypeWinRecovery = guid.Must("de94bba4-06d1-4d40-a16a-bfd50179d6ac") // Windows recovery
)

// AttrNoDriveLetter is the attribute bit of a basic data partition that keeps
// Windows from giving it a drive letter.
const AttrNoDriveLetter uint64 = 1 << 63
