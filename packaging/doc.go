// Package packaging holds what an installation of "troy serve" is made of: the systemd unit, the
// Debian package and the container.
//
//	build-deb.sh   builds the .deb: program, boot bundle (package initramfs/bundle), man pages,
//	               completions, licences, unit, user, /etc/default/troy
//	release.sh     the .deb, the Containerfile, the bill of materials, signed sums, a signed
//	               repository for apt
//	troy.service   runs as a user of its own with one capability, for the ports below 1024
//	windows/       golden.ps1, which prepares a Windows for publishing: docs/golden.md explains it
//	Containerfile  a container of the .deb: a Debian with all that the package depends on
//
// # Promises
//
// Installing writes a first /etc/troy/lab.yaml, unless there is one, and starts nothing; an update
// restarts the service if it runs. Removing the package stops it; purged too it leaves
// /var/lib/troy and what the admin put into /etc/troy, and says so. "systemctl start" ends when all
// ports are open, or fails. The service can write to /var/lib/troy and to a /tmp of its own, and to
// nothing else, and read neither the admin key, should it lie in the store, nor a stick that is
// plugged in. A service that was killed, broke, took more than 1 GiB of memory, or lacks a port, is
// started again and again; not one whose options or lab.yaml are wrong.
//
// Nothing that the server itself starts by is touched: the package has no file and no script that
// belongs to a boot loader or a kernel.
//
// An upgrade over a running night restarts the service: downloads get ten seconds, the others are
// cut, and the PCs get the rest by HTTP range from the new program. If that one does not come up,
// the package is installed all the same, and says so.
//
// The tests build the package, look into it with dpkg-deb, run the program out of it, and have
// systemd-analyze judge the unit. TestService (TROY_SOAK) does in a Debian 12 and a Debian 13 in
// QEMU, with systemd as process 1, what an admin does, from apt install to dpkg -P; its other half
// is testdata/proof.sh. TestFirstWalk (TROY_SOAK) goes from an empty Debian to two PCs, one by stick
// and one by PXE; its other half is testdata/walk.sh. What these Debians install comes from a folder
// in TROY_CACHE, filled by apt.
//
// # Bill of materials
//
// The package and the container have /usr/share/troy/sbom.cdx.json (CycloneDX 1.5), made by
// cmds/troy-sbom: the Go modules of each program, those in the initramfs too, and the files of the
// boot bundle with the Debian packages and sources that they are of. The same inputs give the same
// bytes. What the package depends on is in its control file, not here.
//
// # The script for Windows
//
// golden.ps1 is read by a parser of PowerShell's grammar (tree-sitter, by Node, from TROY_CACHE): it is
// PowerShell, what changes Windows lies in its steps, and a step is run after ShouldProcess alone, so
// that -WhatIf changes nothing. The page has the same steps, parameters and programs. The grammar is
// not Microsoft's parser: it knows no command and no type, and no Windows has run the script.
//
// # Owners
//
// The store belongs to the user troy. What root's commands make in it they give to that user when they
// end (cmds/troy/owner.go); what a killed one left "troy doctor" finds.
//
// # Known gaps
//
// TestContainer (TROY_SOAK) builds the container with podman, on a Debian that mmdebstrap made;
// Docker was not tried, and may give a user other than root no capability, so no ports below 1024.
// The program in a container cannot run commands of the host, so "troy doctor" there sees little.
package packaging
