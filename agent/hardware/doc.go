// Package hardware says what a machine is made of, for people who have to find out why it shows no
// disk or no network: maker, product, firmware, and the ids of all controllers and cards through
// which disks and networks are reached. A photo of its lines is enough to look for a driver.
//
// # Promises
//
//   - It only reads: sysfs, below a folder that tests make up. What cannot be read is left out.
//   - Texts of firmware and kernel come out as protocol.Clean makes them: bounded, one line each.
//   - [Machine.Hidden] names a controller only with a reason that sysfs shows, and says what to set.
//
// # Formats
//
// /sys/class/dmi/id: one file for each text of the firmware (SMBIOS). The file uevent of a PCI
// device: DRIVER=, PCI_CLASS= (six hex digits without leading zeros), PCI_ID=VVVV:DDDD. That of a
// USB interface: DRIVER=, PRODUCT=vendor/product/revision in hex without leading zeros, INTERFACE=
// class/subclass/protocol in decimal. remapped_nvme of an AHCI controller: how many NVMe disks Intel
// RST hides behind it (Linux 5.6).
//
// # Disks that nobody sees
//
// Intel RST in its mode "RAID" takes NVMe disks off the PCI bus and shows them through registers of
// the AHCI controller, which Linux does not use. Behind Intel VMD the disks are on a PCI bus of its
// own, which needs the driver vmd; with a firmware that gives VMD something else to do, none is
// there. RAID modes of AMD's chipsets and RAID cards show no disk without a driver of their own. Where
// the PC shows no disk, any controller of class 0104 (RAID) without a disk below it is named, and
// every storage controller without driver.
//
// # Known gaps
//
// Devices that only ACPI names (eMMC of some tablets) and those of virtual machines that are on no
// PCI bus (Hyper-V) are not listed. A USB device of its vendor's own class without driver may be
// anything: it is listed as unknown. No table of names goes along: ids are looked up by people.
package hardware
