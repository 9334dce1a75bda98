// Package daemon is `troy serve` without its flags and its screen: it opens everything that a
// server needs, joins the routes, serves until its context ends, and stops in order.
//
//	port          path                     answered by
//	TLS           /v1/                     package server: check-ins, progress, reports
//	              /v1/admin/               package rooms/api, noted in the audit log
//	              /                        package web
//	serve/        /v1/admin/               package rooms/api, for this machine's users by a socket
//	TLS, Listen   /repo/ /healthz          package server: the store
//	              /boot/                   package netboot, if there is a folder of boot files
//	UDP 67, 4011, 69                       package netboot: proxyDHCP and TFTP
//
// # Promises
//
// New opens every file and port, so that a mistake shows before anything is served; what it opened
// it closes again if it fails. A store without images and without a lab.yaml is served all the
// same: machines then start what they have, and Next says what the admin has to do. When all is
// open it writes down where its lab.yaml is, for the admin's commands that come while no server
// runs, and Run tells the service manager. The end of one part is the end of all: a service manager
// then starts the daemon again.
//
// # TLS
//
// Every server has a key, made at its first start and kept in the store's folder serve/, which is
// never published. Machines and the admin's commands take a server only if the store's signed list
// names its key (package image/trust, servers.json); Next says when it does not yet. A machine has
// to show a key of its own, by which package rooms knows it. A browser is told apart by what it
// offers in the handshake (HTTP/2) and gets the page's certificate (package certs) instead.
//
// Without TLS remain files that are checked by their hashes (the store, boot files) and /healthz. A
// browser is sent on to TLS, except on this machine (loopback); every call is refused and not sent
// on, so that a forged server in between is noticed.
//
// # Known gaps
//
// One lab.yaml, one store. Another address, certificate folder or lab.yaml needs a restart; the
// content of lab.yaml does not (Reload), and a renewed certificate is taken by itself.
package daemon
