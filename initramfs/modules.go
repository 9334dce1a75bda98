package initramfs

import "slices"

// defaultModules returns the kernel modules of common PCs: the chips through
// which a disk, a wired network or a keyboard is reached, and the file systems
// of boot media. [Build] adds what they depend on. Names that a kernel has built
// in or does not have are passed over, so one list serves several kernels.
func defaultModules() []string {
	return slices.Concat(storageModules(), networkModules(), filesystemModules(), inputModules())
}

// storageModules: the last line is for eMMC and cards, the one before for UFS, which some laptops and
// tablets have in place of any other disk.
func storageModules() []string {
	return []string{
		"nvme", "ahci", "ata_piix", "ata_generic", "vmd",
		"virtio_blk", "virtio_scsi", "hv_storvsc", "vmw_pvscsi", "mptspi",
		"sd_mod", "sr_mod",
		"xhci_pci", "ehci_pci", "uhci_hcd", "usb_storage", "uas",
		"ufshcd_pci",
		"sdhci_pci", "sdhci_acpi", "rtsx_pci_sdmmc", "rtsx_usb_sdmmc", "mmc_block",
	}
}

func networkModules() []string {
	return []string{
		"virtio_net", "hv_netvsc", "vmxnet3",
		"e1000", "e1000e", "igb", "igc", "r8169", "realtek", "tg3", "8139too", "8139cp", "pcnet32",
		"atlantic", "atl1c", "alx", "atl1e", "sky2", "forcedeth", "jme",
		"r8152", "r8153_ecm", "ax88179_178a", "asix", "aqc111", "smsc75xx", "smsc95xx", "lan78xx",
		"cdc_ether", "cdc_ncm", "rndis_host",
	}
}

// filesystemModules serve boot media and images. Windows' volume needs none: the agent
// writes to its clusters, and makes a new one by ntfs-3g, a program.
func filesystemModules() []string {
	return []string{
		"efivarfs", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8",
		"isofs", "loop",
	}
}

// inputModules serve the keyboard for the rescue shell.
func inputModules() []string {
	return []string{"hid_generic", "usbhid", "hyperv_keyboard"}
}
