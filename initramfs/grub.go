package initramfs

import (
	"fmt"

	"troy/chainload/grub"
	"troy/chainload/release"
	"troy/initramfs/bundle"
	"troy/internal/kernelargs"
)

// Boot is what media start: GRUB loads the kernel, the initramfs and what the site adds.
type Boot struct {
	Bundle  *bundle.Bundle
	Site    []byte // archives that the kernel unpacks over the initramfs, see [Site]
	Cmdline string // kernel command line; printable ASCII without quotes
}

// Names on the media of a [Boot]; package release has those of the boot files.
const (
	argumentsName = "troy/arguments.cfg"
	loaderName    = "EFI/BOOT/" + release.GRUB // what shim starts
	grubConfig    = "EFI/debian/grub.cfg"      // built into grubDisk
	cdConfig      = "boot/grub/grub.cfg"       // built into grubCD
	cdMark        = ".disk/info"               // by which grubCD finds its medium
	windowsName   = "EFI/Microsoft/Boot/bootmgfw.efi"
)

// besideGRUB is the build of GRUB that reads the configuration beside itself; which of them does,
// differs between Debian's releases.
func (b *Boot) besideGRUB() ([]byte, error) {
	for _, name := range []string{bundle.GRUBCD, bundle.GRUBDisk} {
		data, err := b.Bundle.Read(name)
		if err != nil || grub.ReadsBeside(data) {
			return data, err
		}
	}
	return nil, fmt.Errorf("%w: neither %s nor %s reads the configuration beside itself: an unknown release of GRUB", bundle.ErrInvalid, bundle.GRUBCD, bundle.GRUBDisk)
}

// payload are kernel and archives as they lie on the medium.
func (b *Boot) payload() ([]File, error) {
	if err := kernelargs.Check(b.Cmdline); err != nil {
		return nil, err
	}
	kernel, err := b.Bundle.Read(release.Kernel)
	if err != nil {
		return nil, err
	}
	initrd, err := b.Bundle.Read(release.Initrd)
	return []File{{Name: release.MediaKernel, Data: kernel}, {Name: release.MediaInitrd, Data: initrd}, {Name: release.MediaSite, Data: b.Site}}, err
}

// mediaFiles are all files of a medium but the boot loaders.
func (b *Boot) mediaFiles(config string) ([]File, error) {
	files, err := b.payload()
	if err != nil {
		return nil, err
	}
	return append(files, File{Name: config, Data: []byte(b.diskConfig())}, File{Name: argumentsName, Data: []byte(arguments)}), nil
}

// diskConfig is grub.cfg of sticks and ISO images. Like all our configurations it names a superuser
// without a password, which locks GRUB's editor and command line (GRUB manual, "Authentication and
// authorisation"), and ends in a restart.
func (b *Boot) diskConfig() string {
	return fmt.Sprintf(`# Troy
set superusers=nobody
set pager=0
set arguments=
if [ -s /%[1]s ]; then
	source /%[1]s
fi
echo "Troy: loading from this medium"
if linux /%[2]s %[3]s $arguments; then
	if initrd /%[4]s /%[6]s; then
		boot
	fi
fi
%[5]s`, argumentsName, release.MediaKernel, kernelargs.ForGRUB(b.Cmdline), release.MediaInitrd, grubFailure("the medium is damaged or incomplete: write it again"), release.MediaSite)
}

// arguments is the file that an admin may edit on a stick. (GRUB can also lay files over
// an initramfs, but Linux 6.12 refuses what GRUB 2.06 makes of their names.)
const arguments = `# Further kernel arguments of this medium. They count more than what it was made with. Such as:
# set arguments="troy.server=http://192.0.2.1:8080 troy.port=eth0"
set arguments=""
`

// grubFailure says what is wrong and starts Windows, if the machine has one, else the machine again:
// never a prompt. (After a kernel that is no kernel GRUB 2.12 cannot start anything else.)
func grubFailure(what string) string {
	return fmt.Sprintf(`echo "Troy: %[1]s."
echo "No disk was touched. Windows starts in 10 seconds, if this machine has one."
sleep 10
if search --no-floppy --file --set=disk /%[2]s; then
	if chainloader ($disk)/%[2]s; then boot; fi
fi
reboot
`, what, windowsName)
}
