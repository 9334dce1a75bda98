package state

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"go.etcd.io/bbolt"

	"troy/internal/durable"
	"troy/internal/format"
)

// Kind is the format of the file.
var Kind = format.Kind{Name: "state.db", Number: 2, Oldest: 2}

// Keys in the bucket meta. The number is all that the first files have.
const (
	keyFormat  = "format"  // number
	keyNeeds   = "needs"   // words, with a space between them
	keyProgram = "program" // release that gave the file its format
)

// BackupOf is the path of the copy of a state file that is made before it is migrated from a format.
func BackupOf(path string, number int) string { return fmt.Sprintf("%s.%d.bak", path, number) }

// NewerError says that a newer program wrote the file, and that this one does not understand all of
// it. It is an ErrFormat.
type NewerError struct {
	Path    string
	Program string // "" = it did not say
	Format  int
	Err     error
}

// Error says what is in the way and what helps.
func (e *NewerError) Error() string {
	text := fmt.Sprintf("%v: Troy %s wrote it (format %d): %v; nothing was changed", ErrFormat, cmp.Or(e.Program, "of a newer release"), e.Format, e.Err)
	old := BackupOf(e.Path, Kind.Current())
	if info, err := os.Stat(old); err == nil {
		text += fmt.Sprintf(", or put back the state of %s, before that: 'mv %s %s'", info.ModTime().Format("2006-01-02 15:04"), old, e.Path)
	}
	return text
}

// Unwrap returns the class and the cause.
func (e *NewerError) Unwrap() []error { return []error{ErrFormat, e.Err} }

// admit lets in a file that this program understands, and migrates one of an older format.
func admit(k *format.Kind, db *bbolt.DB, readOnly bool) error {
	var h format.Head
	var program string
	err := db.View(func(tx *bbolt.Tx) (err error) {
		h, program, err = readHead(tx)
		return err
	})
	if err != nil {
		return err
	}
	err = k.Check(h)
	if _, ok := errors.AsType[*format.NeedsError](err); ok {
		return &NewerError{Path: db.Path(), Program: program, Format: h.Format, Err: err}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if readOnly || h.Format >= k.Current() {
		return nil
	}
	if err := backup(db, BackupOf(db.Path(), h.Format)); err != nil {
		return fmt.Errorf("no copy could be made before its format is changed, nothing was changed: %w", classify(err))
	}
	return classify(db.Update(func(tx *bbolt.Tx) error { return writeHead(k, tx, h) }))
}

// readHead reads what the file says of its format.
func readHead(tx *bbolt.Tx) (h format.Head, program string, err error) {
	meta := tx.Bucket([]byte(bucketMeta))
	if meta == nil {
		return h, "", fmt.Errorf("%w: no bucket %s", ErrFormat, bucketMeta)
	}
	if h.Format, err = strconv.Atoi(string(meta.Get([]byte(keyFormat)))); err != nil {
		return h, "", fmt.Errorf("%w: its number is %.20q", ErrFormat, meta.Get([]byte(keyFormat)))
	}
	h.Needs = strings.Fields(string(meta.Get([]byte(keyNeeds))))
	return h, string(meta.Get([]byte(keyProgram))), nil
}

// writeHead makes the file one of this program's format.
func writeHead(k *format.Kind, tx *bbolt.Tx, h format.Head) error {
	k.Stamp(&h)
	meta := tx.Bucket([]byte(bucketMeta))
	for key, value := range map[string]string{keyFormat: strconv.Itoa(h.Format), keyNeeds: strings.Join(h.Needs, " "), keyProgram: format.Release} {
		if err := meta.Put([]byte(key), []byte(value)); err != nil {
			return err
		}
	}
	return nil
}

// backup writes a checked copy of the file, in place of one that is there.
func backup(db *bbolt.DB, path string) error {
	f, err := durable.Create(path, 0o600)
	if err != nil {
		return err
	}
	defer f.Abandon()
	var size int64
	err = db.View(func(tx *bbolt.Tx) (err error) {
		size, err = tx.WriteTo(f)
		return err
	})
	if err != nil {
		return err
	}
	if err := check(f, size); err != nil {
		return &DamagedError{db.Path(), err}
	}
	return f.Commit()
}
