package certs

import (
	"context"
	"crypto/tls"
	"sync/atomic"
	"time"
)

const keepTime = time.Hour // between two looks at the certificate

// Keeper holds the certificate of the page of a running server and renews it in time.
type Keeper struct {
	dir  string
	pair atomic.Pointer[tls.Certificate]
}

// NewKeeper renews the certificate if need be, and loads it. What keeps it from being renewed is
// told to note while the old one still holds.
func NewKeeper(dir string, now time.Time, note func(line string)) (*Keeper, error) {
	k := &Keeper{dir: dir}
	return k, k.look(now, note)
}

func (k *Keeper) look(now time.Time, note func(line string)) error {
	renewed, err := Renew(k.dir, nil, now)
	if err != nil {
		note("the certificate of the page cannot be renewed: " + err.Error())
	} else if renewed {
		note("the certificate of the page was renewed")
	}
	pair, loadErr := Load(k.dir)
	if loadErr != nil {
		return loadErr
	}
	k.pair.Store(pair)
	return nil
}

// Run looks at the certificate every hour until ctx ends.
func (k *Keeper) Run(ctx context.Context, note func(line string)) {
	t := time.NewTicker(keepTime)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := k.look(time.Now(), note); err != nil {
				note("the certificate cannot be read, the one from before is used: " + err.Error())
			}
		}
	}
}

// Pair is the certificate of now.
func (k *Keeper) Pair() *tls.Certificate { return k.pair.Load() }
