package state

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"troy/internal/format"
)

// Get returns a machine, nil if it is not known. It must not be changed.
func (s *Store) Get(id string) *Machine {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.machines[id]
}

// Those returns the machines of some ids that are known, in no order. They must not be changed.
func (s *Store) Those(ids map[string]bool) []*Machine {
	all := make([]*Machine, 0, len(ids))
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id := range ids {
		if m := s.machines[id]; m != nil {
			all = append(all, m)
		}
	}
	return all
}

// All returns the machines, sorted by id. They must not be changed.
func (s *Store) All() []*Machine {
	s.mu.RLock()
	all := make([]*Machine, 0, len(s.machines))
	for _, m := range s.machines {
		all = append(all, m)
	}
	s.mu.RUnlock()
	slices.SortFunc(all, func(a, b *Machine) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Update changes a machine, or makes it, and returns it as it is on the disk then. change may be
// called several times, each time with the state of then; it must do nothing but change what it is
// given. Its error undoes all.
func (s *Store) Update(id string, change func(m *Machine) error) (*Machine, error) {
	return s.update(id, nil, change)
}

// Report changes a machine as Update does, and keeps the log of its report in the same act; failed
// keeps it also as that of the last failure.
func (s *Store) Report(id, log string, failed bool, change func(m *Machine) error) (*Machine, error) {
	return s.update(id, func(tx *bbolt.Tx) error {
		err := tx.Bucket([]byte(bucketLogs)).Put([]byte(id), []byte(log))
		if err == nil && failed {
			err = tx.Bucket([]byte(bucketFailures)).Put([]byte(id), []byte(log))
		}
		return err
	}, change)
}

func (s *Store) update(id string, also func(tx *bbolt.Tx) error, change func(m *Machine) error) (*Machine, error) {
	var m *Machine
	err := s.batch(func(tx *bbolt.Tx) error {
		var err error
		if m, err = s.find(tx, id); err != nil {
			return err
		}
		before := m.Code
		if err := change(m); err != nil {
			return err
		}
		m.Rev++
		if err := code(tx, m, before); err != nil {
			return err
		}
		if also != nil {
			if err := also(tx); err != nil {
				return err
			}
		}
		return put(tx, bucketMachines, id, m)
	})
	if err != nil {
		return nil, err
	}
	s.remember(m)
	return m, nil
}

// find reads a machine for a change, from the disk: the memory may be behind changes of the same
// transaction.
func (s *Store) find(tx *bbolt.Tx, id string) (*Machine, error) {
	b := tx.Bucket([]byte(bucketMachines))
	v := b.Get([]byte(id))
	if v == nil {
		return &Machine{ID: id}, nil
	}
	m := &Machine{}
	return m, format.Unmarshal(v, m)
}

// remember takes a machine into memory, unless a later change was there first, or has removed it.
func (s *Store) remember(m *Machine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.machines[m.ID]; s.has(m.ID) && (old == nil || old.Rev < m.Rev) {
		s.machines[m.ID] = m
	}
}

// has tells whether a machine is on the disk. No transaction takes s.mu, which is held.
func (s *Store) has(id string) (is bool) {
	err := s.db.View(func(tx *bbolt.Tx) error {
		is = tx.Bucket([]byte(bucketMachines)).Get([]byte(id)) != nil
		return nil
	})
	return is || err != nil
}

// code keeps the bucket of codes as the machine wants it.
func code(tx *bbolt.Tx, m *Machine, before string) error {
	b := tx.Bucket([]byte(bucketCodes))
	if before == m.Code {
		return nil
	}
	if before != "" {
		if err := b.Delete([]byte(before)); err != nil {
			return err
		}
	}
	if m.Code == "" {
		return nil
	}
	if owner := b.Get([]byte(m.Code)); owner != nil && string(owner) != m.ID {
		return fmt.Errorf("state: the code %s is taken", m.Code)
	}
	return b.Put([]byte(m.Code), []byte(m.ID))
}

// codeLetters are told apart on a photo of a screen.
const codeLetters = "ABCDEFGHJKLMNPQRTUVWXY346789"

// NewCode draws a code that no machine has now.
func (s *Store) NewCode() string {
	for {
		b := make([]byte, 6)
		rand.Read(b)
		for i := range b {
			b[i] = codeLetters[int(b[i])%len(codeLetters)]
		}
		if s.ByCode(string(b)) == nil {
			return string(b)
		}
	}
}

// ByCode returns the machine that shows a code, in any case of letters; nil if none does.
func (s *Store) ByCode(code string) *Machine {
	var id string
	err := s.db.View(func(tx *bbolt.Tx) error {
		id = string(tx.Bucket([]byte(bucketCodes)).Get([]byte(strings.ToUpper(code))))
		return nil
	})
	if err != nil || id == "" {
		return nil
	}
	return s.Get(id)
}

// Forget removes machines and their logs, all or none; those that are not there do not matter. They
// come back with their next check-ins, as unknown ones unless lab.yaml lists them.
func (s *Store) Forget(ids ...string) error {
	err := s.batch(func(tx *bbolt.Tx) error {
		for _, id := range ids {
			if err := s.drop(tx, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if !s.has(id) { // nobody has made it again meanwhile
			delete(s.machines, id)
		}
	}
	return nil
}

// drop removes a machine from the buckets.
func (s *Store) drop(tx *bbolt.Tx, id string) error {
	m, err := s.find(tx, id)
	if err != nil {
		return err
	}
	old := m.Code
	m.Code = ""
	if err := code(tx, m, old); err != nil {
		return err
	}
	for _, name := range []string{bucketMachines, bucketLogs, bucketFailures} {
		if err := tx.Bucket([]byte(name)).Delete([]byte(id)); err != nil {
			return err
		}
	}
	return nil
}

// Log returns the log tail of a machine's last report, and of its last failed one.
func (s *Store) Log(id string) (last, failed string, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		last = string(tx.Bucket([]byte(bucketLogs)).Get([]byte(id)))
		failed = string(tx.Bucket([]byte(bucketFailures)).Get([]byte(id)))
		return nil
	})
	return last, failed, err
}
