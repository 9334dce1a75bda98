package release

// Files of a release, which are also files of the media.
const (
	Shim   = "shimx64.efi"        // what the firmware starts with Secure Boot on or off; starts GRUB, by this name, beside itself
	GRUB   = "grubx64.efi"        // loads kernel and initramfs; which of Debian's builds it is differs between media
	Kernel = "vmlinuz"            // Linux, signed by the same distribution as shim
	Initrd = "initramfs.cpio.zst" // the agent and what it needs, the same for all sites
	Site   = "site.cpio"          // what a site adds: whose signatures count, its servers, its settings
)

// Files are those of a release, which starts with Secure Boot on and off.
func Files() []string { return []string{Shim, GRUB, Kernel, Initrd, Site} }

// Media have kernel, initramfs and site in a folder of their own. So has the folder for network boot,
// with its own files at the top.
const (
	MediaKernel = "troy/" + Kernel
	MediaInitrd = "troy/" + Initrd
	MediaSite   = "troy/" + Site
	NetConfig   = "grub/grub.cfg" // what GRUB's network build reads
	IPXE        = "snponly.efi"   // iPXE, for machines with Secure Boot off
	IPXEScript  = "boot.ipxe"     // what iPXE is told to run
	ISO         = "troy.iso"      // a whole medium, for UEFI HTTP boot
	DHCPConfig  = "dnsmasq.conf"  // how a DHCP server names these, for the admin
)
