// Package signing looks after the signatures of a store that is served: it renews what a server can
// renew by itself, and says which signatures end soon and which command renews them.
package signing

import (
	"context"
	"fmt"
	"time"

	"troy/image/trust/sign"
)

// every is how often a server looks whether the timestamp is to be signed again; it holds for two
// weeks.
const every = time.Hour

// Keeper renews the timestamp of a store while it is served. Trouble is told and keeps no machine
// from being served; each look begins with the store, so what was mended meanwhile is renewed.
type Keeper struct {
	dir  string
	note func(line string)
}

// NewKeeper makes a Keeper for the store at dir.
func NewKeeper(dir string, note func(line string)) *Keeper { return &Keeper{dir, note} }

// Refresh signs the timestamp again if it is due, and tells of signatures that end soon.
func (k *Keeper) Refresh(ctx context.Context) {
	lines, err := k.refresh(ctx)
	for _, line := range lines {
		k.note(line)
	}
	if err != nil && ctx.Err() == nil {
		k.note(fmt.Sprintf("the timestamp was not renewed: %v", err))
	}
}

func (k *Keeper) refresh(ctx context.Context) (soon []string, err error) {
	repo, err := sign.Open(k.dir, nil)
	if err != nil {
		return nil, err
	}
	if _, err := repo.RefreshTimestamp(ctx, time.Now()); err != nil {
		return nil, err
	}
	return Expiring(repo, time.Now())
}

// Run refreshes every hour until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			k.Refresh(ctx)
		}
	}
}

// Expiring returns a line for each key of a store whose signatures end soon or have ended, with what
// renews them.
func Expiring(repo *sign.Repository, now time.Time) (lines []string, err error) {
	list, err := repo.Expiries(now)
	for _, e := range list {
		switch day := e.Expires.Format(time.DateOnly); {
		case e.Ended(now):
			lines = append(lines, fmt.Sprintf("the signatures of the %s have EXPIRED, on %s: machines take nothing new; %s", e.Key, day, Renewal(e.Key)))
		case e.Soon:
			lines = append(lines, fmt.Sprintf("the signatures of the %s end %s; %s", e.Key, day, Renewal(e.Key)))
		}
	}
	return lines, err
}

// Renewal says what to do about a key whose signatures end.
func Renewal(k sign.Key) string {
	if k == sign.Admin {
		return "'troy key sign' renews them"
	}
	return "'troy serve' renews them while it runs, 'troy key refresh' at any time"
}
