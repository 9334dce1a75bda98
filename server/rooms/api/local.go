package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"troy/internal/errline"
	"troy/server/catalog"
	"troy/server/lab"
	"troy/server/programs"
	"troy/server/protocol"
	"troy/server/rooms"
	"troy/server/servedir"
	"troy/server/signing"
	"troy/server/state"
)

// Local is an Admin in this process.
type Local struct {
	k     *rooms.Keeper
	state *state.Store // that Close closes; nil = the Keeper belongs to the caller
}

// NewLocal makes one of a Keeper.
func NewLocal(k *rooms.Keeper) *Local { return &Local{k: k} }

// OpenLocal makes one of the state file that a server left in the store at dir. It fails while a
// server runs (state.ErrBusy). ReadOnly changes nothing and needs no right to write. Close it when
// done.
func OpenLocal(dir string, readOnly bool) (*Local, error) {
	folder := servedir.Of(dir)
	path, err := folder.Lab()
	if err != nil {
		return nil, err
	}
	file, err := lab.Open(path)
	if err != nil {
		return nil, err
	}
	sizes, err := catalog.Open(dir)
	if err != nil {
		return nil, err
	}
	shelf, err := programs.Open(dir, "") // the folder for network boot is not known here
	if err != nil {
		return nil, err
	}
	st, err := state.Open(folder.State(), &state.Options{ReadOnly: readOnly})
	if err != nil {
		return nil, err
	}
	k, err := rooms.New(&rooms.Options{Lab: file, State: st, Sizes: sizes, Programs: shelf, Permitted: signing.NewPermits(dir).Permitted})
	if err != nil {
		return nil, errline.Join(err, st.Close())
	}
	return &Local{k, st}, nil
}

// Close lets go of what OpenLocal opened.
func (l *Local) Close() error {
	if l.state == nil {
		return nil
	}
	return l.state.Close()
}

// Status implements Viewer.
func (l *Local) Status(context.Context) (*rooms.Status, error) { return l.k.Status(), nil }

// Hosts implements Viewer.
func (l *Local) Hosts(_ context.Context, room string) ([]rooms.Host, error) {
	if _, ok := l.k.Lab().Room(room); room != "" && !ok {
		return nil, fmt.Errorf("%w: room %q is not in lab.yaml", rooms.ErrNotFound, room)
	}
	return l.k.Hosts(room), nil
}

// Host implements Viewer.
func (l *Local) Host(_ context.Context, id string) (*HostDetail, error) {
	host, m, err := l.k.Host(id)
	if err != nil {
		return nil, err
	}
	d := &HostDetail{Host: *host, History: []state.Event{}}
	if m != nil {
		d.CheckIn, d.Order, d.Report = &m.CheckIn, &m.Order, m.Report
		d.History = append(d.History, m.History...)
		d.Log, d.FailLog, err = l.k.Log(m.ID)
	}
	return d, err
}

// Nights implements Historian.
func (l *Local) Nights(_ context.Context, days int) ([]state.Night, error) {
	list, err := l.k.Nights(time.Now().AddDate(0, 0, -days))
	return append([]state.Night{}, list...), err
}

// Previous implements Historian.
func (l *Local) Previous(_ context.Context, room string) (*state.Target, error) {
	return l.k.Previous(room)
}

// Estimate implements Planner.
func (l *Local) Estimate(ctx context.Context, p rooms.Promotion) (*rooms.Estimate, error) {
	return l.k.Estimate(ctx, p)
}

// Promote implements Planner.
func (l *Local) Promote(ctx context.Context, p rooms.Promotion) (*state.Target, error) {
	return l.k.Promote(ctx, p)
}

// Rollback implements Planner.
func (l *Local) Rollback(ctx context.Context, p rooms.Promotion) (*state.Target, error) {
	return l.k.Rollback(ctx, p)
}

// Stop implements Operator.
func (l *Local) Stop(_ context.Context, room, why string) error {
	said := strings.TrimSpace(protocol.Clean(why, 200))
	if said == "" && why != "" {
		return fmt.Errorf("%w: the reason %q is empty", rooms.ErrInvalid, why)
	}
	return l.k.Stop(room, said)
}

// Assign implements Operator.
func (l *Local) Assign(_ context.Context, code, name, room string) error {
	_, err := l.k.Assign(code, name, room)
	return err
}

// Confirm implements Confirmer.
func (l *Local) Confirm(_ context.Context, host, key string) error { return l.k.Confirm(host, key) }

// EndSetup implements Operator.
func (l *Local) EndSetup(_ context.Context, host string, leave bool) (*protocol.Want, error) {
	return l.k.EndSetup(host, leave)
}

// Verify implements Operator.
func (l *Local) Verify(_ context.Context, room, id string, adopt bool) (int, error) {
	return l.k.Verify(room, id, adopt)
}

// Wake implements Operator.
func (l *Local) Wake(_ context.Context, room, id string) (int, error) {
	return l.k.WakeNow(room, id)
}

// Forget implements Forgetter.
func (l *Local) Forget(_ context.Context, f Forget) (int, error) {
	switch {
	case f.Strangers && f.Host != "":
		return 0, fmt.Errorf("%w: a host, or all strangers", rooms.ErrInvalid)
	case f.Strangers:
		return l.k.ForgetStrangers()
	}
	host, _, err := l.k.Host(f.Host)
	if err != nil {
		return 0, err
	}
	if host.ID == "" {
		return 0, fmt.Errorf("%w: %s never checked in: only lab.yaml names it", rooms.ErrNotFound, host.Name)
	}
	return 1, l.k.Forget(host.ID)
}
