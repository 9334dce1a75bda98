package agent

import (
	"bytes"
	"os"
)

// smbiosTable is where the kernel shows the tables of the firmware as they are.
const smbiosTable = "/sys/firmware/dmi/tables/DMI"

// woken tells whether the firmware says that no person switched this machine on, but a call over
// the network, or a timer. Many say so of no start; then the windows of the room have to do.
func woken() bool {
	b, err := os.ReadFile(smbiosTable)
	return err == nil && wokenBy(b)
}

// wokenBy reads the wake-up type of the system (SMBIOS 3.7, 7.2.2).
func wokenBy(table []byte) bool {
	const (
		header, systemInformation, endOfTable, wakeAt = 4, 1, 127, 0x18

		apmTimer, modemRing, lanRemote, pciPME = 3, 4, 5, 7
	)
	for len(table) >= header && table[0] != endOfTable {
		kind, size := table[0], int(table[1])
		if size < header || size > len(table) {
			return false
		}
		if kind == systemInformation {
			if size <= wakeAt {
				return false // SMBIOS 2.0
			}
			switch table[wakeAt] {
			case apmTimer, modemRing, lanRemote, pciPME:
				return true
			}
			return false
		}
		end := bytes.Index(table[size:], []byte{0, 0}) // its texts
		if end < 0 {
			return false
		}
		table = table[size+end+2:]
	}
	return false
}
