// Package api is what an admin asks of package rooms: an interface (Admin) with two
// implementations. Local works in this process, on a Keeper or on the state file that a server
// left; Client asks a server, which answers by Local: JSON under /v1/admin/, for the command line
// and scripts.
//
//	GET  /v1/admin/status                        rooms.Status
//	GET  /v1/admin/hosts[?room=ROOM]             []rooms.Host
//	GET  /v1/admin/hosts/{id}                    HostDetail; id is a name, id, code, MAC address or UUID
//	GET  /v1/admin/nights[?days=N]               []state.Night, the newest first; 30 days
//	POST /v1/admin/estimate   rooms.Promotion →  rooms.Estimate; changes nothing
//	POST /v1/admin/promote    rooms.Promotion →  state.Target
//	POST /v1/admin/rollback   rooms.Promotion →  state.Target; version 0 = the one before
//	GET  /v1/admin/previous?room=ROOM            state.Target that a rollback would bring back
//	POST /v1/admin/stop       Stop            →  {}
//	POST /v1/admin/assign     Assign          →  {}
//	POST /v1/admin/confirm    Confirm         →  {}
//	POST /v1/admin/forget     Forget          →  Forgotten
//	POST /v1/admin/wake       Which           →  Woken
//	POST /v1/admin/reload     {}              →  {}; reads lab.yaml now
//	GET  /v1/admin/changes?after=REV             Revision, as soon as it is another than REV, or after 20 s
//
// Every answer that is no success is a protocol.Failure of one line: 400 for a request that can
// never be right, 401 without the token, 404 for what is not there, 413 too large, 507 for a full
// disk, 500 for the rest. Unknown members are refused. Times are RFC 3339, sizes bytes, durations
// seconds.
//
// # Access
//
// On the server's own machine the commands connect to a socket in the folder serve/ of the store
// (Listen, NewLocalClient): the kernel lets in and names who may, and no secret is sent, so that a
// program that takes the server's ports while it is down learns nothing. Root and the owner of the
// folder may; members of its group if its mode lets them in (chmod g+xs serve).
//
// From other machines: Authorization: Bearer TOKEN, by TLS only (Token). NewHandler refuses
// everything else; a caller that has checked a login of its own (a session of the status page) uses
// the Keeper.
package api
