// Command troy is what the admin runs: it publishes versions of images and serves them to the rooms.
//
//	troy init DIR                      make a store, its signing keys and a lab.yaml with one room
//	troy image import NAME base.vhdx   publish version 1
//	troy image add NAME child.vhdx     publish version N+1: what a differencing child changed
//	troy image list | show | diff | verify | rm | gc | export
//	                                   what the store holds, and what becomes of it
//	troy key …                         signing keys: rotate, sign, order a version, permit wiping, until when signatures hold
//	troy agent …                       the releases of the agent: boot files with which machines keep their own copy new
//	troy serve DIR                     serve the store and tell the machines of the rooms what to do, as lab.yaml and the promotions say
//	troy lab init | check | schema | import-csv
//	                                   lab.yaml: is it right, what may stand in it, hosts from a table
//	troy promote --room R NAME@N       give a room a version (rollback: the one before; stop: no further machine begins)
//	troy assign | wake                 name a machine that shows a code; call machines by wake-on-LAN
//	troy status | hosts | log HOST     how the rooms and machines stand, from the server, or from its state file when it is down
//	troy login NAME DIR                let somebody sign in on the status page
//	troy certs init | renew | show     TLS for check-ins and the page
//	troy doctor [DIR]                  what keeps a server from serving, and what to do
//	troy vhdx …                        look at, check, convert and merge VHDX files
//	troy disk …                        the \Troy\ files on a machine's disk
//	troy media …                       make the initramfs and the boot stick
//
// The image commands work on the store that --store or the variable TROY_STORE names, else on the current folder.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage, 5 a check found something wrong.
package main
