package release

// Files of a release, which are also files of the media.
const (
	Shim   = "shimx64.efi"        // what the firmware starts with Secure Boot on or off; starts GRUB, by this name, beside itself
	GRUB   = "grubx64.efi"        // loads kernel and initramfs; which of Debian's builds it is differs between media
	Kernel = "vmlinuz"            // Linux, signed by the same distribution as shim
	Initrd = "initramfs.cpio.zst" // the agent and what it needs
	UKI    = "troy.efi"           // or kernel and initramfs in one file, which the firmware starts itself: Secure Boot off
)

// Signed are the files of a release that starts with Secure Boot on and off. One for Secure Boot
// off has UKI alone.
func Signed() []string { return []string{Shim, GRUB, Kernel, Initrd} }

// Media have kernel and initramfs in a folder of their own. So has the folder for network boot,
// with its own files at the top.
const (
	MediaKernel = "troy/" + Kernel
	MediaInitrd = "troy/" + Initrd
	NetConfig   = "grub/grub.cfg" // what GRUB's network build reads
	IPXE        = "snponly.efi"   // iPXE, for machines with Secure Boot off
	IPXEScript  = "boot.ipxe"     // what iPXE is told to run
	ISO         = "troy.iso"      // a whole medium, for UEFI HTTP boot with Secure Boot on or off
	DHCPConfig  = "dnsmasq.conf"  // how a DHCP server names these, for the admin
)
