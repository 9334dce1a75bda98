package signing

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/server/rooms"
)

// Permits tells a server which permits the admin has signed, so that it knows who waits for one. It
// reads them again whenever the store was signed again.
type Permits struct {
	dir string

	mu     sync.Mutex
	signed time.Time // when timestamp.json was written
	list   []trust.Permit
}

// NewPermits makes one for the store at dir.
func NewPermits(dir string) *Permits { return &Permits{dir: dir} }

// Permitted tells whether a permit is signed and in force, and whether that could be read: where it
// could not, the machine, which verifies, says what it waits for.
func (p *Permits) Permitted(n rooms.Need) (signed, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := os.Stat(filepath.Join(p.dir, "metadata", "timestamp.json"))
	if err == nil && !info.ModTime().Equal(p.signed) {
		var repo *sign.Repository
		if repo, err = sign.Open(p.dir, nil); err == nil {
			p.list, err = repo.ServedPermits()
		}
		if err == nil {
			p.signed = info.ModTime()
		}
	}
	if err != nil {
		return false, false
	}
	now := time.Now()
	for _, disk := range append(slices.Clone(n.Disks), "") {
		u := trust.Use{Scope: trust.Scope(n.Scope), Key: n.Key, Disk: disk, Image: n.Image, Version: n.Version}
		if slices.ContainsFunc(p.list, func(q trust.Permit) bool { return q.Allows(u, now) }) {
			return true, true
		}
	}
	return false, true
}
