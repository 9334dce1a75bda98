package api

import (
	"context"

	"troy/server/protocol"
	"troy/server/rooms"
	"troy/server/state"
)

// Viewer shows the present.
type Viewer interface {
	// Status is the state of all rooms.
	Status(ctx context.Context) (*rooms.Status, error)
	// Hosts are the machines of a room; "" = all.
	Hosts(ctx context.Context, room string) ([]rooms.Host, error)
	// Host is one machine, by its name, id, code, or a MAC address or UUID in any notation.
	Host(ctx context.Context, id string) (*HostDetail, error)
}

// Historian shows the past.
type Historian interface {
	// Nights is the history of so many days, the newest first.
	Nights(ctx context.Context, days int) ([]state.Night, error)
	// Previous is what a rollback of a room would bring back.
	Previous(ctx context.Context, room string) (*state.Target, error)
}

// Planner changes what rooms get.
type Planner interface {
	// Estimate says what a promotion would take, and changes nothing.
	Estimate(ctx context.Context, p rooms.Promotion) (*rooms.Estimate, error)
	// Promote gives a room a version.
	Promote(ctx context.Context, p rooms.Promotion) (*state.Target, error)
	// Rollback gives a room back a version; 0 = the one before.
	Rollback(ctx context.Context, p rooms.Promotion) (*state.Target, error)
}

// Operator does the rest that an admin may.
type Operator interface {
	// Stop keeps machines of a room from beginning; why "" lets them begin again.
	Stop(ctx context.Context, room, why string) error
	// Assign names the machine that shows a code.
	Assign(ctx context.Context, code, name, room string) error
	// Verify orders a machine, or a room, to be compared, and returns how many were ordered.
	Verify(ctx context.Context, room, id string, adopt bool) (int, error)
	// EndSetup says that the setup of what a machine holds is over, or discards it, and returns of
	// which version.
	EndSetup(ctx context.Context, host string, leave bool) (*protocol.Want, error)
	// Wake calls a machine, or a room, and returns how many machines will be called.
	Wake(ctx context.Context, room, id string) (int, error)
}

// Confirmer says which machines are what they seem to be.
type Confirmer interface {
	// Confirm notes that a machine, named as Host takes it, is the one with this pinned key.
	Confirm(ctx context.Context, host, key string) error
}

// Forgetter drops what is known of machines.
type Forgetter interface {
	// Forget drops one machine, named as Host takes it, or all strangers, and returns how many.
	Forget(ctx context.Context, f Forget) (int, error)
}

// Admin is what the admin's commands work on: a Client asks the server, a Local the state file that
// the server left. Errors: rooms.ErrNotFound, rooms.ErrInvalid, state.ErrFull; of a Client also
// ErrDown and ErrLost.
type Admin interface {
	Viewer
	Historian
	Planner
	Operator
	Confirmer
	Forgetter
}

var (
	_ Admin = (*Client)(nil)
	_ Admin = (*Local)(nil)
)

// HostDetail is one machine with its history and logs.
type HostDetail struct {
	rooms.Host
	CheckIn *protocol.CheckIn `json:"checkin,omitempty"`
	Order   *protocol.Order   `json:"order,omitempty"`
	Report  *state.Report     `json:"report,omitempty"`
	History []state.Event     `json:"history"`
	Log     string            `json:"log"`      // tail of the last report
	FailLog string            `json:"fail_log"` // tail of the last failed report
}

// Stop asks that no machine of a room begins. Why "" lets them begin again.
type Stop struct {
	Room string `json:"room"`
	Why  string `json:"why"`
}

// Assign names the machine that shows a code.
type Assign struct {
	Code string `json:"code"`
	Name string `json:"name"`
	Room string `json:"room"`
}

// Confirm says that a machine is the one with a pinned key.
type Confirm struct {
	Host string `json:"host"`
	Key  string `json:"key"`
}

// Forget names a machine that is to be forgotten, or says that all strangers are: machines without
// a place in lab.yaml, and without a pinned key.
type Forget struct {
	Host      string `json:"host,omitempty"`
	Strangers bool   `json:"strangers,omitempty"`
}

// Forgotten says how many machines were forgotten.
type Forgotten struct {
	Machines int `json:"machines"`
}

// Which names a machine, or a room.
type Which struct {
	Room string `json:"room,omitempty"`
	Host string `json:"host,omitempty"`
}

// Verify names a machine, or a room, to be compared.
type Verify struct {
	Room  string `json:"room,omitempty"`
	Host  string `json:"host,omitempty"`
	Adopt bool   `json:"adopt,omitempty"`
}

// EndSetup names a machine, and what becomes of its setup.
type EndSetup struct {
	Host  string `json:"host"`
	Leave bool   `json:"leave,omitempty"`
}

// Woken says how many machines will be called.
type Woken struct {
	Machines int `json:"machines"`
}

// Revision counts changes.
type Revision struct {
	Revision uint64 `json:"revision"`
}
