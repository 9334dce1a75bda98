// Package testlab builds one small computer lab on the host: a private network with a DHCP server,
// the admin's store and `troy serve`, a boot stick, and PCs in QEMU whose disks were prepared as
// provisioning leaves them.
//
// The demo and the black-box tests share it. Everything in it is real (commands as an admin runs
// them, OVMF firmware, dnsmasq, a reset of the machine) but for Windows itself: a stand-in is
// started in place of its boot manager, which says so and powers off. What a PC holds afterwards is
// judged by programs that are not Troy's: ntfscat takes the files out of the NTFS volume, 7zz
// flattens the chain, and every byte is compared with the raw image of the version.
//
// A lab can also be a building (Building, ServeRooms): several PCs that start by PXE from `troy
// serve`, beside the DHCP server of the site, which is another machine there and knows nothing of
// Troy.
//
// It needs root (network namespaces), and what `make deps` installs. The environment names the
// kernel (KERNEL, MODULES) and the cache folder (TROY_CACHE).
package testlab
