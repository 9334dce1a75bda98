package inbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"troy/image/capture"
	"troy/internal/absent"
	"troy/internal/durable"
	"troy/internal/errline"
	"troy/internal/format"
	"troy/internal/guid"
	"troy/internal/tlskey"
)

const (
	aboutName = "about.json"
	pagesName = "pages"
	logName   = "log"
	// beginning is the start of the name of a folder that is being made.
	beginning = "new-"
)

// AboutKind is the format of about.json.
var AboutKind = format.Kind{Name: "about.json of an inbox", Number: 1, Oldest: 1}

// About says whose an inbox is.
type About struct {
	format.Head
	Key     string        `json:"key"`  // of the machine, as package tlskey names it
	Host    string        `json:"host"` // as the order to capture named it
	Begun   time.Time     `json:"begun"`
	Session capture.About `json:"session"`
}

// checkID returns ErrNone for what is no name of an inbox, such as a path.
func checkID(id string) error {
	g, err := guid.Parse(id)
	if err != nil || g.String() != id {
		return fmt.Errorf("%w: %.60q", ErrNone, id)
	}
	return nil
}

// makeFolder makes the folder of a new inbox, whole or not at all.
func makeFolder(dir, id string, a *About) error {
	AboutKind.Stamp(&a.Head)
	b, err := format.Indent(a)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, beginning+id)
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	err = errline.Join(
		durable.WriteFile(filepath.Join(tmp, pagesName), nil, 0o600),
		durable.WriteFile(filepath.Join(tmp, logName), nil, 0o600),
		durable.WriteFile(filepath.Join(tmp, aboutName), b, 0o600))
	if err == nil {
		err = durable.Rename(tmp, filepath.Join(dir, id))
	}
	if err != nil {
		return errline.Join(err, os.RemoveAll(tmp))
	}
	return nil
}

// readAbout reads about.json of an inbox.
func readAbout(dir, id string) (*About, error) {
	b, err := os.ReadFile(filepath.Join(dir, id, aboutName))
	if absent.Is(err) {
		return nil, fmt.Errorf("%w: %s", ErrNone, id)
	}
	if err != nil {
		return nil, err
	}
	a := &About{}
	if err := AboutKind.Read(b, a); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, aboutName, err)
	}
	if err := a.Session.Check(); err != nil || !tlskey.IsName(a.Key) {
		return nil, fmt.Errorf("%w: %s: key %.80q, %v", ErrDamaged, aboutName, a.Key, err)
	}
	return a, nil
}

// openFiles opens the files of an inbox with that flag of os.OpenFile.
func openFiles(dir, id string, flag int) (pages, log *os.File, err error) {
	if pages, err = os.OpenFile(filepath.Join(dir, id, pagesName), flag, 0); err != nil {
		return nil, nil, err
	}
	if log, err = os.OpenFile(filepath.Join(dir, id, logName), flag, 0); err != nil {
		return nil, nil, errline.Join(err, pages.Close())
	}
	return pages, log, nil
}

// sweep removes what a kill left of inboxes that were being made or removed.
func sweep(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, beginning+"*"))
	for _, name := range left {
		err = errline.Join(err, os.RemoveAll(name))
	}
	return err
}

// ids returns the names of the inboxes in a folder, which may be missing.
func ids(dir string) (list []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !absent.Is(err) {
		return nil, err
	}
	for _, e := range entries {
		if checkID(e.Name()) == nil {
			list = append(list, e.Name())
		}
	}
	return list, nil
}

// Info is what there is of a capture.
type Info struct {
	ID string
	About
	Finished bool
	Totals   capture.Totals
	// Stale: the same machine has begun another one since.
	Stale bool
	// Err says why the inbox cannot be read; the other fields may then be empty.
	Err error
}

// List returns the inboxes in a folder, the newest first.
func List(dir string) ([]Info, error) {
	names, err := ids(dir)
	if err != nil {
		return nil, err
	}
	var list []Info
	for _, id := range names {
		info, err := look(dir, id)
		if errors.Is(err, ErrNone) {
			continue // it was removed meanwhile
		}
		info.Err = err
		list = append(list, info)
	}
	slices.SortStableFunc(list, func(a, b Info) int { return b.Begun.Compare(a.Begun) })
	newest := map[string]bool{}
	for i := range list {
		list[i].Stale = newest[list[i].Key]
		newest[list[i].Key] = true
	}
	return list, nil
}

func look(dir, id string) (Info, error) {
	info := Info{ID: id}
	a, err := readAbout(dir, id)
	if err != nil {
		return info, err
	}
	info.About = *a
	pages, log, err := openFiles(dir, id, os.O_RDONLY)
	if err != nil {
		return info, err
	}
	b, err := newBox(pages, log, a.Session.VirtualSize)
	if err == nil {
		_, info.Totals = b.list()
		info.Finished = b.finished
	}
	return info, errline.Join(err, b.close())
}

// Remove removes an inbox. A server that has it open notices.
func Remove(dir, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	if _, err := readAbout(dir, id); errors.Is(err, ErrNone) {
		return err
	}
	gone := filepath.Join(dir, beginning+strings.ToLower(id)) // no inbox any more, from one instant to the next
	return errline.Join(os.RemoveAll(gone), durable.Rename(filepath.Join(dir, id), gone), os.RemoveAll(gone))
}
