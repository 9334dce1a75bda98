package sign

import (
	"context"
	"fmt"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// RefreshTimestamp signs timestamp and snapshot again when less than half of their time is left,
// and says whether it did. It needs only the server's key, and believes the folder: that key signs
// nothing that machines take. Call it every few hours while the store is served: what is served
// expires otherwise, and machines refuse it.
func (r *Repository) RefreshTimestamp(ctx context.Context, now time.Time) (bool, error) {
	unlock, err := r.lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	st, err := r.load()
	if err != nil {
		return false, err
	}
	return r.refresh(st, now)
}

func (r *Repository) refresh(st *state, now time.Time) (bool, error) {
	both := stale(st.snapshot.Signed.Expires, metadata.SNAPSHOT, now)
	if !both && !stale(st.timestamp.Signed.Expires, metadata.TIMESTAMP, now) {
		return false, nil
	}
	signers, err := r.signers(&st.root.Signed, Server)
	if err != nil {
		return false, err
	}
	c := &commit{dir: r.path(""), now: now, state: st, signers: signers}
	if both {
		err = c.run()
	} else {
		err = c.timestamp()
	}
	return err == nil, err
}

// Expiry says until when the signatures of a key hold.
type Expiry struct {
	Key     Key
	Version int64 // how often it has signed
	Expires time.Time
	// Soon says that it is time to do something: the admin for Admin, the server of the store for
	// Server.
	Soon bool
}

// Ended says whether it is too late: machines take nothing new.
func (e *Expiry) Ended(now time.Time) bool { return !e.Expires.After(now) }

// Expiries returns one entry for each key, as the folder says.
func (r *Repository) Expiries(now time.Time) ([]Expiry, error) {
	st, err := r.load()
	if err != nil {
		return nil, err
	}
	admin := Expiry{Key: Admin, Version: st.targets.Signed.Version, Expires: st.targets.Signed.Expires}
	server := Expiry{Key: Server, Version: st.timestamp.Signed.Version, Expires: st.timestamp.Signed.Expires}
	for _, x := range []struct {
		e       *Expiry
		expires time.Time
		role    string
	}{
		{&admin, st.root.Signed.Expires, metadata.ROOT}, {&admin, st.targets.Signed.Expires, metadata.TARGETS},
		{&server, st.snapshot.Signed.Expires, metadata.SNAPSHOT}, {&server, st.timestamp.Signed.Expires, metadata.TIMESTAMP},
	} {
		if x.expires.Before(x.e.Expires) {
			x.e.Expires = x.expires
		}
		x.e.Soon = x.e.Soon || x.expires.Sub(now) < min(90*day, validity(x.role)/4)
	}
	return []Expiry{admin, server}, nil
}

// putRoot writes the next root metadata, which trusts the same keys for longer.
func (r *Repository) putRoot(st *state, signers []*signingKey, now time.Time) error {
	root := &st.root.Signed
	root.Version++
	root.Expires = expiry(metadata.ROOT, now)
	b, err := encode(st.root, signers)
	if err != nil {
		return err
	}
	st.roots = append(st.roots, b)
	return r.writeRoot(root.Version, b)
}

func (r *Repository) writeRoot(version int64, b []byte) error {
	return writeFile(r.path(fmt.Sprintf("%d.root.json", version)), b, 0o644)
}
