package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"troy/diskwriter/machine"
	"troy/image/trust"
	"troy/internal/tlskey"
	"troy/netfetch"
	"troy/netfetch/link"
	"troy/server/protocol"
)

// site is how this machine and the servers of its site know each other: the newest list of servers
// that the admin signed, and the machine's own key.
type site struct {
	o     *Options
	con   *console
	rec   *records
	net   *network
	store *store

	list atomic.Pointer[trust.Servers] // nil: none was seen yet
	key  *tlskey.Key
	cert tls.Certificate // carries the key
}

// learn takes the newest list of servers from journal and media, and the machine's key from the
// journal, once. A machine without a key makes one. By it servers know the machine again, so it is in
// the journal, where that may be written to, before any server sees it.
func (s *site) learn(mayWrite bool) {
	j := s.rec.disk.journal()
	if s.list.Load() == nil {
		s.list.Store(trust.Known(s.net.media.root, s.net.media.servers, s.rec.trusted()))
	}
	if s.key != nil {
		return
	}
	var err error
	if j != nil {
		if s.key, err = keyIn(j); err != nil {
			s.con.say("journal: the key of this machine cannot be read: %v", err)
		}
	}
	if s.key == nil { // one that cannot be read now may be read again at another start
		s.key = s.newKey(j, mayWrite && !errors.Is(err, machine.ErrUnreadable))
	}
	if s.cert, err = s.key.Certificate(); err != nil {
		s.con.say("key: %v", err)
	}
}

// keyIn reads a journal's key; nil if there is none.
func keyIn(j *machine.Journal) (*tlskey.Key, error) {
	b, err := j.Get(machine.RecordKey)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	return tlskey.Parse(b)
}

// newKey makes a key, and keeps it where there is a journal for that.
func (s *site) newKey(j *machine.Journal, mayWrite bool) *tlskey.Key {
	key, err := tlskey.New()
	if err == nil && j != nil && mayWrite {
		s.con.say("journal: this machine has a new key")
		err = j.Put(machine.RecordKey, encoded(key))
	}
	if err != nil {
		s.con.say("journal: the key of this machine does not last: %v", err)
	}
	return key
}

// encoded is a key as a journal keeps it.
func encoded(key *tlskey.Key) []byte {
	b, err := key.Marshal()
	if err != nil {
		return nil // it was made or parsed here
	}
	return b
}

// known is the TLS by which servers are called: they have to show a key of the list.
func (s *site) known() *tls.Config {
	return tlskey.Client(func() []string { return s.list.Load().Keys() }, &s.cert)
}

// urls are where servers are looked for, those that count most first. What a person named for this
// start counts alone; the key has to fit all the same. A network may name one, too.
func (s *site) urls(l *link.Link) []string {
	urls := slices.Clone(s.o.Typed)
	if len(urls) == 0 {
		urls = append(slices.Clone(s.list.Load().URLs()), s.o.Net.Servers...)
		if l != nil {
			urls = append(urls, netfetch.ServerURL(l.Server))
		}
	}
	return slices.DeleteFunc(urls, func(u string) bool { return u == "" })
}

// checkIn asks the servers. Where none shows a key of the list, a newer list may: what is signed is
// fetched from whatever answers there, and they are asked again.
func (s *site) checkIn(ctx context.Context, in *protocol.CheckIn) (*protocol.Order, error) {
	order, err := s.net.ask(ctx, in)
	if errors.Is(err, tlskey.ErrPin) {
		if nerr := s.renew(ctx); nerr != nil {
			return nil, fmt.Errorf("%w; no newer list of servers: %w", err, nerr)
		}
		order, err = s.net.ask(ctx, in)
	}
	if err != nil {
		return nil, err
	}
	if order.Servers != "" && order.Servers != s.list.Load().Digest() {
		if _, err := s.store.open(ctx, order); err != nil { // which takes the list
			s.con.say("servers: %v", err)
		}
	}
	return order, nil
}

// errSame: the list that is signed is the one that the machine has.
var errSame = errors.New("the list is the one that is signed")

// renew fetches the list by what is signed alone: no server has to be known for that.
func (s *site) renew(ctx context.Context) error {
	s.con.say("servers: no server shows a key that this machine knows; looking for a newer signed list")
	before := s.list.Load().Digest()
	open, err := s.net.mirrors(s.urls(s.net.link), tlskey.Unverified())
	if err != nil {
		return err
	}
	defer open.Reconnect()
	src, err := open.Sub(protocol.PathRepo)
	if err != nil {
		return err
	}
	if _, err := s.store.trusted(ctx, src); err != nil {
		return err
	}
	if s.list.Load().Digest() == before {
		return errSame
	}
	return s.net.find()
}

// take makes a list the one in force. It is in the journal before a server of it is asked: the keys
// that it leaves out are refused from then on.
func (s *site) take(list *trust.Servers) {
	if list == nil {
		return
	}
	if old := s.list.Swap(list); old != nil && old.Version == list.Version && old.Store == list.Store {
		return
	}
	s.con.say("servers: list %d of the signed servers is in force", list.Version)
	s.rec.remember()
}
