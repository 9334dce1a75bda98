package state

import (
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"troy/internal/format"
)

// Room returns what was promoted to a room, nil if nothing was. It must not be changed.
func (s *Store) Room(name string) *Room {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rooms[name]
}

// Promote adds a target to a room; it is in force from then on. The ID is given here.
func (s *Store) Promote(room string, t Target) (Target, error) {
	err := s.changeRoom(room, func(tx *bbolt.Tx, r *Room) error {
		id, err := tx.Bucket([]byte(bucketRooms)).NextSequence()
		if err != nil {
			return err
		}
		t.ID = id
		r.Targets = append(r.Targets[max(0, len(r.Targets)+1-targetsMost):], t)
		r.Stopped = ""
		return nil
	})
	return t, err
}

// StopRoom keeps the machines of a room from beginning; why "" lets them begin again.
func (s *Store) StopRoom(room, why string) error {
	return s.changeRoom(room, func(_ *bbolt.Tx, r *Room) error {
		r.Stopped = why
		return nil
	})
}

// ChangeTarget changes a target; ErrNotFound if the room has none of that ID.
func (s *Store) ChangeTarget(room string, id uint64, change func(t *Target)) error {
	return s.changeRoom(room, func(_ *bbolt.Tx, r *Room) error {
		i := slices.IndexFunc(r.Targets, func(t Target) bool { return t.ID == id })
		if i < 0 {
			return ErrNotFound
		}
		change(&r.Targets[i])
		return nil
	})
}

// changeRoom is not batched: promotions are rare, and their order counts.
func (s *Store) changeRoom(name string, change func(tx *bbolt.Tx, r *Room) error) error {
	r := &Room{}
	s.promoting.Lock() // against a second one that would be in memory first
	defer s.promoting.Unlock()
	err := s.db.Update(func(tx *bbolt.Tx) error {
		if v := tx.Bucket([]byte(bucketRooms)).Get([]byte(name)); v != nil {
			if err := format.Unmarshal(v, r); err != nil {
				return err
			}
		}
		r.Name = name
		if err := change(tx, r); err != nil {
			return err
		}
		return put(tx, bucketRooms, name, r)
	})
	if err != nil {
		return classify(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rooms[name] = r
	return nil
}

// PutNights keeps nights, in place of what was kept of them before. The oldest beyond nightsMost
// go.
func (s *Store) PutNights(list []Night) error {
	if len(list) == 0 {
		return nil
	}
	return classify(s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucketNights))
		for i := range list {
			if err := put(tx, bucketNights, list[i].key(), &list[i]); err != nil {
				return err
			}
		}
		c := b.Cursor()
		for over := b.Stats().KeyN - nightsMost; over > 0; over-- {
			if k, _ := c.First(); k == nil {
				break
			}
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (n *Night) key() string {
	return fmt.Sprintf("%s %s %s@%d", n.Begin.UTC().Format(time.RFC3339), n.Room, n.Image, n.Version)
}

// Same tells whether two are of the same window, room and version.
func (n *Night) Same(o *Night) bool { return n.key() == o.key() }

// Nights returns the nights that began after a time, the newest first.
func (s *Store) Nights(after time.Time) ([]Night, error) {
	var list []Night
	err := s.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte(bucketNights)).Cursor()
		for k, v := c.Seek([]byte(after.UTC().Format(time.RFC3339))); k != nil; k, v = c.Next() {
			var n Night
			if err := format.Unmarshal(v, &n); err != nil {
				return fmt.Errorf("%w: night %q: %w", ErrFormat, k, err)
			}
			if n.Begin.After(after) {
				list = append(list, n)
			}
		}
		return nil
	})
	slices.Reverse(list) // keys are in the order of time
	return list, err
}
