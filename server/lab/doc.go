// Package lab reads lab.yaml, the file in which the admin says what the rooms are and when they may
// be worked on. It can be kept in git; the server only reads it. Which version a room gets is said
// there only to pin it: what is promoted lives in package state. First is the file that "troy init"
// writes.
//
//	format: 1
//	zone: Europe/Berlin            # IANA time zone of all times here
//	bandwidth: 900                 # Mbit/s that the server may send in all; 0 or nothing = 900
//	mirrors: [http://10.1.0.9/repo]
//	unknown: code                  # what a machine gets that is not under hosts: a code on its screen,
//	                               # or the name of a room: it joins that room, without permits
//	images: [win11-lab]            # those that rooms may name; nothing = all of the store
//	defaults:                      # of every room; a room replaces what it names
//	  image: win11-lab
//	  merge: lazy                  # or now
//	  reset: update                # or boot: at every start; or key: when somebody presses R
//	  starts: agent                # or direct: most starts go to Windows without the agent
//	  contact: "Anna, room 101, tel. 4711"  # whom to call, for the screens of machines
//	  windows:
//	    - {days: [mon, tue, wed, thu, fri], from: "22:00", to: "05:30"}
//	  except: [2026-12-24]         # no window opens on the evening of these dates
//	  wave: 10                     # machines that fetch at the same time
//	  at_close: stop               # or finish
//	  link_patience: 60            # seconds that a start in a window waits for the network
//	  identity: wanted             # PCs get a name of their own in Windows; or required, or off
//	  pc_name: "lab-{number}"      # also {host} and {room}; nothing = {host}
//	  settings: {disable-password-change: 1}
//	  values: {printer: hp-b204}   # for machine.json; with slashes: of the answer file
//	  secrets: {key: "keys/{host}.txt"}  # a file beside lab.yaml with such a value
//	rooms:
//	  test: {always: true}         # also outside of a window
//	  B204: {bandwidth: 500, broadcast: [10.2.4.255], provision: {allow: true}, reinstall: true}
//	placeholders:                  # UUIDs that several boards here have, besides the usual ones
//	  - 4c4c4544-0000-2010-8020-80c04f202021
//	hosts:
//	  - {name: b204-01, room: B204, mac: "52:54:00:12:34:56"}
//	  - {name: b204-02, room: B204, uuid: 4c4c4544-0000-1000-8000-000000000001, version: 6}
//
// A host is recognised by its MAC address first: one of a wired port that stays in the machine. MAC
// addresses and UUIDs are read in all usual notations and compared by what they mean (package
// identity); a UUID that many boards have is refused.
//
// What a machine is to get in Windows, Identity says: host over room over defaults, maps key by key.
// Names are checked over the whole lab, as a domain or an Ethernet has each name once. Secrets are in
// files that are not read until Secret.Read is asked; nothing here keeps or tells what they hold.
//
// # Promises
//
// Parse is strict: unknown members, doubled keys, wrong types, references to nothing and two hosts
// with one address are errors, all of them are told at once, and each has file, line, column, what
// was found and what was expected. Schema gives the JSON schema, made of the same Go types, for
// editors.
//
// Windows are in local time. A window that ends not after it begins ends on the next day. Its day
// is the one on which it begins, for days and except alike. An hour that the clocks skip is
// replaced by the instant of the change; of an hour that comes twice the first is meant, for begin
// and end, so that nothing stays open longer than the clock on the wall says. A window that a
// change of the clocks empties does not open. Windows that overlap or touch are one.
//
// # Known gaps
//
// YAML anchors, aliases, merge keys and tags are refused: one place says one thing; so is a byte
// that is not UTF-8, in a comment, too. No placeholder is replaced in values. One file holds one document. Groups of rooms do not exist.
package lab
