package state

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"troy/internal/durable"
	"troy/internal/errline"
	"troy/internal/format"
)

var (
	// ErrFull is returned when the disk has no room; nothing was changed.
	ErrFull = errors.New("state: the disk is full, nothing was changed")
	// ErrBusy is returned by Open when another process has the file.
	ErrBusy = errors.New("state: the file is in use")
	// ErrFormat is returned by Open for a file that this program does not know.
	ErrFormat = errors.New("state: unknown format")
	// ErrNotFound is returned for a machine or a code that is not there.
	ErrNotFound = errors.New("state: not found")
)

const (
	lockTime = 2 * time.Second
	together = 2 * time.Millisecond // updates that arrive so close share one sync

	// mapped is the address space taken at first, in bytes. With less, bbolt doubles the file again
	// and again while a thousand machines come for the first time, and each doubling costs a sync
	// of its own; with so much it grows by 16 MiB (with holes) at a time.
	mapped = 64 << 20
)

// Buckets.
const (
	bucketMeta     = "meta"
	bucketMachines = "machines"
	bucketLogs     = "logs"
	bucketFailures = "failures"
	bucketCodes    = "codes"
	bucketRooms    = "rooms"
	bucketNights   = "nights"
)

// Options of a store. The zero value is right.
type Options struct {
	// ReadOnly opens a file that must exist, and changes nothing.
	ReadOnly bool
}

// Store is an open state file. Its methods may be called from several goroutines.
type Store struct {
	db *bbolt.DB

	promoting sync.Mutex // held over a change of a room; never taken inside a transaction

	mu       sync.RWMutex
	machines map[string]*Machine
	rooms    map[string]*Room
}

// Open opens the state file, or makes it. It returns ErrBusy if another process has it, and a
// DamagedError, before anything touches it, if it is damaged.
func Open(path string, o *Options) (*Store, error) {
	if o == nil {
		o = &Options{}
	}
	err := Check(path)
	if errors.Is(err, os.ErrNotExist) && !o.ReadOnly {
		err = create(path)
	}
	if errors.Is(err, ErrDamaged) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, classify(err))
	}
	db, err := openDB(path, o.ReadOnly)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s := &Store{db: db, machines: map[string]*Machine{}, rooms: map[string]*Room{}}
	err = admit(&Kind, db, o.ReadOnly)
	if err == nil {
		err = s.load()
	}
	if err != nil {
		return nil, errline.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return s, nil
}

func openDB(path string, readOnly bool) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTime, ReadOnly: readOnly,
		NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, InitialMmapSize: mapped})
	if err != nil {
		return nil, classify(err)
	}
	db.MaxBatchDelay = together
	return db, nil
}

// create makes an empty state file, whole or not at all: one without content is a damaged one.
func create(path string) error {
	part := path + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	db, err := openDB(part, false)
	if err != nil {
		return err
	}
	if err := errline.Join(prepare(db), db.Close()); err != nil {
		return err
	}
	if err := durable.RenameNew(part, path); !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.Remove(part) // another process was faster
}

// Close lets go of the file.
func (s *Store) Close() error { return s.db.Close() }

// classify gives errors of bbolt and the system the names of this package.
func classify(err error) error {
	var no syscall.Errno
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return ErrBusy
	case errors.As(err, &no) && (no == syscall.ENOSPC || no == syscall.EDQUOT || no == syscall.EFBIG):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}

// buckets are all that a file has.
func buckets() []string {
	return []string{bucketMeta, bucketMachines, bucketLogs, bucketFailures, bucketCodes, bucketRooms, bucketNights}
}

// prepare makes the buckets.
func prepare(db *bbolt.DB) error {
	return classify(db.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets() {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		return writeHead(&Kind, tx, format.Head{})
	}))
}

// load reads machines and rooms into memory.
func (s *Store) load() error {
	return s.db.View(func(tx *bbolt.Tx) error {
		for _, name := range buckets() {
			if tx.Bucket([]byte(name)) == nil {
				return fmt.Errorf("%w: no bucket %s", ErrFormat, name)
			}
		}
		if err := each(tx, bucketMachines, s.machines); err != nil {
			return err
		}
		return each(tx, bucketRooms, s.rooms)
	})
}

// each decodes a bucket.
func each[T any](tx *bbolt.Tx, bucket string, into map[string]*T) error {
	return tx.Bucket([]byte(bucket)).ForEach(func(k, v []byte) error {
		var t T
		if err := format.Unmarshal(v, &t); err != nil {
			return fmt.Errorf("%w: %s %q: %w", ErrFormat, bucket, k, err)
		}
		into[string(k)] = &t
		return nil
	})
}

// put encodes a value.
func put(tx *bbolt.Tx, bucket, key string, v any) error {
	b, err := format.Marshal(v)
	if err != nil {
		return err
	}
	return tx.Bucket([]byte(bucket)).Put([]byte(key), b)
}

// batch runs one change, together with others that arrive at the same time.
func (s *Store) batch(change func(tx *bbolt.Tx) error) error {
	return classify(s.db.Batch(change))
}
