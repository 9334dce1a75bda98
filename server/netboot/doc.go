// Package netboot brings machines that start by the network to the boot files of "troy media" (its
// folder net/), beside the DHCP server of the site, which needs no change.
//
//	UDP 67, 4011   proxyDHCP (PXE 2.1): tells PXE and UEFI HTTP clients what to load, gives no addresses
//	UDP 69         TFTP, reading only (RFC 1350 with the options of RFC 2347, 2348, 2349 and 7440)
//	/boot/         the same folder by HTTP
//
// # Promises
//
// ProxyDHCP: only a DHCPDISCOVER to port 67, and a DHCPREQUEST or DHCPINFORM to port 4011, get an
// answer, and only if the client says that it is PXEClient or HTTPClient (option 60) on x86-64 UEFI
// (option 93: 7, 9; 16 for HTTP) and its machine identifier (option 97) is absent or well formed.
// Everything else is silence: a wrong word in DHCP can take a whole network down. Answers hold no
// address, no lease, no router. They go out where the question came in, to the broadcast address,
// the relay, or the address that the client has.
//
// What was asked in the name of others reflects nothing: questions count only from the ports of
// clients and relays (68, 67; 4011), never for the address of a whole network, and behind a router
// an answer is hardly larger than its question. Each address gets 50 answers a second at most, the
// broadcast address too; of these one client (hardware address) gets one a second, after 20 at
// once. Who makes up hardware addresses can take all of them. Notes (Options.OnNote) are bounded as
// well, by where an answer goes: 400 at once, then one a second.
//
//	client                       gets
//	PXE, architecture 7 or 9     snponly.efi by TFTP (iPXE, Secure Boot off), or shimx64.efi
//	                             if only that is there or Options.Shim is set
//	iPXE (user class)            http://SERVER/boot/boot.ipxe
//	HTTP, architecture 16        http://SERVER/boot/troy.iso
//
// Package chainload/release has the names. A file that is not in the folder is not offered. The
// address of the server is the one of the network card that heard the question. PXE clients are
// told (option 43, PXE_DISCOVERY_CONTROL bit 3) to load the file at once, without looking for boot
// servers or showing a menu.
//
// Options 66 and 67 end with a zero byte, because some firmware reads them as C strings. Where
// another DHCP server sends them without one, that firmware asks for a name with rubbish behind it:
// it gets the file if the name begins with one that DHCP servers and shim give. Blanks, NULs and
// line ends around any name do not count, and neither do doubled slashes. By HTTP all this is
// answered at once, not by a redirect, which firmware and shim do not follow (CleanPaths).
//
// Files: opened through os.Root, so no name and no link leads out of the folder; regular files of
// at most 4 GiB; no listing. TFTP: writing is refused. At most 256 transfers run, 8 of one address;
// more get an error and try again. An address may be forged until its client answers: it has two
// such transfers of three small packets at most, its errors are no longer than its requests, and
// where 128 clients have not answered yet, the oldest of these transfers ends for the next one.
// Only read and write requests from unprivileged ports are answered, so that two servers cannot be
// set to answer each other's errors for ever. Each transfer has a connected socket of its own, which
// hears its client only and speaks from the address that the client asked. Blocks are at most 1468 bytes (no fragments), windows 16 blocks; a datagram is
// sent again five times. (pack.ag/tftp was tried as the server: a request without a NUL byte ends
// its process. The tests use its client.)
//
// # Known gaps
//
// GRUB before 2.12 (Debian 12 has 2.06) looks for its files (grub.cfg, kernel) at the server that
// the site's DHCP answer names as next-server (siaddr), and knows nothing of proxyDHCP: shim and
// GRUB arrive, and then ask the DHCP server. With Options.Shim the site's DHCP server then has to
// name this one as next-server, and nothing else; Advice says so. GRUB 2.12 takes the proxy's word.
// Both were tried in qemu-tests (soak) with Secure Boot enforced, as was UEFI HTTP boot of
// troy.iso.
//
// IPv4 only. BIOS, 32-bit and ARM clients get no answer. The answer to a relay's question names the
// address on the interface that heard it, which a server with several addresses on one card may not
// want: see Options.Address. TFTP through NAT does not work (its transfers use ports of their own).
// The tests here speak as firmware does, and load with curl; real firmware boots from it in
// qemu-tests (soak).
package netboot
