package daemon

import (
	"troy/server/netboot"
	"troy/server/protocol"
)

// Options say what is served, and where. Dir, Listen and TLSListen are needed.
type Options struct {
	Dir    string // the store
	Listen string // address of the port without TLS, such as ":8080"
	// TLSListen is the address of the port with TLS, such as ":8443".
	TLSListen string
	// Lab is the path of lab.yaml; "" = lab.yaml in the store, which may come later.
	Lab string
	// Bandwidth is how many bytes per second of the store all machines get together; 0 = what
	// lab.yaml says, or no limit.
	Bandwidth int64
	// EventLog is a file to which check-ins and reports are added as lines of JSON, and answers from
	// the store to the one beside it whose name ends in .served; "" = none.
	EventLog string
	// Boot, if set, brings machines that start by the network to boot files. The daemon fills in
	// HTTPPort and OnNote.
	Boot *netboot.Options
	// Certs is the folder of package certs for the page; "" = one in the store, made if need be.
	Certs  string
	Public bool // see web.Options
	// NotifySocket is where systemd wants to hear that the server is ready; "" = nowhere.
	NotifySocket string
	Events       Events
}

// Events are told what happens; any may be nil. They may be called from several goroutines at once.
type Events struct {
	CheckIn func(in protocol.CheckIn, o protocol.Order, err error)
	Report  func(r protocol.Report)
	Note    func(line string) // what happens: a machine is sent on, lab.yaml was read
	Warn    func(line string) // what keeps machines from being served as asked for
}

// filled has a function in every member.
func (e Events) filled() Events {
	if e.CheckIn == nil {
		e.CheckIn = func(protocol.CheckIn, protocol.Order, error) {}
	}
	if e.Report == nil {
		e.Report = func(protocol.Report) {}
	}
	if e.Note == nil {
		e.Note = func(string) {}
	}
	if e.Warn == nil {
		e.Warn = func(string) {}
	}
	return e
}
