// Package daemon is `troy serve` without its flags and its screen: it opens everything that a
// server needs, joins the routes, serves until its context ends, and stops in order.
//
//	port          path                     answered by
//	Listen, TLS   /repo/ /v1/ /healthz     package server: the store, check-ins, reports
//	              /v1/admin/               package rooms/api, noted in the audit log
//	              /boot/                   package netboot, if there is a folder of boot files
//	              /                        package web
//	UDP 67, 4011, 69                       package netboot: proxyDHCP and TFTP
//
// # Promises
//
// New opens every file and port, so that a mistake shows before anything is served; what it opened
// it closes again if it fails. A store without images and without a lab.yaml is served all the
// same: machines then start what they have, and Next says what the admin has to do. When all is
// open it writes down where the admin's commands reach this server, and Run tells the service
// manager. The end of one part is the end of all: a service manager then starts the daemon again.
//
// # TLS
//
// With certificates there are two ports. On the one without TLS remain files that machines check by
// their hashes (the store, boot files), /healthz, and everything for programs of this machine
// (loopback). The page is redirected to TLS; a check-in is refused and not redirected, so that a
// forged server in between is noticed.
//
// # Known gaps
//
// One lab.yaml, one store. Another address, certificate folder or lab.yaml needs a restart; the
// content of lab.yaml does not (Reload), and a renewed certificate is taken by itself.
package daemon
