// Package packaging holds what an installation of "troy serve" is made of: the systemd unit, the Debian package and the container.
//
//	build-deb.sh   builds the .deb: program, unit, user, /etc/default/troy
//	troy.service   runs as a user of its own with one capability, for the ports below 1024
//	Containerfile  the program alone, with its time zones
//
// # Promises
//
// Installing starts nothing; an update restarts the service if it runs. Removing the package, purged too, leaves /var/lib/troy. The tests build the package,
// look into it with dpkg-deb, run the program out of it, and have systemd-analyze judge the unit.
//
// # Known gaps
//
// The container file was never built by the tests. The binary program in a container cannot run commands of the host, so "troy doctor" there sees little.
package packaging
