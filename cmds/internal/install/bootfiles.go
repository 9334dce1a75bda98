package install

import (
	"context"
	"io"
	"os"

	"troy/chainload/bootfiles"
)

// efiVariables is where the kernel shows the variables of the firmware.
const efiVariables = "/sys/firmware/efi/efivars"

// BootFiles brings the boot files of the Windows on a virtual disk (a diskwriter.Reinstaller, or target.Chain of a machine) to the ESP on
// the block device, those that this machine's firmware trusts. What is right there already is not written. efivarfs must be
// mounted. Errors: those of bootfiles.ReadTrust, Load and InstallDevice.
func BootFiles(ctx context.Context, disk io.ReaderAt, size int64, sectorSize int, device string) (*bootfiles.Result, error) {
	trust, err := bootfiles.ReadTrust(os.DirFS(efiVariables))
	if err != nil {
		return nil, err
	}
	set, err := bootfiles.Load(disk, size, sectorSize, trust)
	if err != nil {
		return nil, err
	}
	return set.InstallDevice(ctx, device)
}
