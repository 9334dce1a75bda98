// Package audit keeps who did what: one line of JSON for each act of an admin and each login, and,
// apart from these, what was refused to strangers.
//
// # Promises
//
// An entry that Add returned nil for is on the disk (package linelog). The log is rotated at 16 MiB;
// only who has a login or the token adds to it.
//
// What strangers tried (an entry without Who) goes to a file of its own beside the log, NAME with
// "-refused" before its ending, of at most 1 MiB and one more that was rotated. Tries that differ
// in nothing but their time and details are one line in a minute, and one more with their number; of
// more than 50 different ones in a minute only the number is kept. So nobody can push acts out of
// the log, nor fill the disk.
//
// Files are the owner's alone (0600).
//
// # Known gaps
//
// Anyone who can write the file can change the past: send it elsewhere (journald, a log server) if
// that matters. Numbers of refused tries that were not written yet are lost when the server is
// killed.
package audit

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"troy/internal/errline"
	"troy/server/linelog"
)

const (
	sizeMost   = 16 << 20 // bytes, where the log is rotated
	detailMost = 1000     // bytes of Detail
	textMost   = 200      // bytes of the other texts
)

// Entry is one act.
type Entry struct {
	Time   time.Time `json:"time"`
	Who    string    `json:"who"`              // name of a login, "token", or "" for strangers
	From   string    `json:"from,omitempty"`   // address
	Action string    `json:"action"`           // login, promote, …
	Detail string    `json:"detail,omitempty"` // what was asked
	Result string    `json:"result"`           // "ok" or why not
	Count  int       `json:"count,omitempty"`  // further ones like it, for which there is no line
}

// Log is an audit log in a file, with what was refused beside it.
type Log struct {
	acts    *linelog.File
	refused *refused
}

// Open opens a log, and makes it if need be.
func Open(path string) (*Log, error) {
	acts, err := linelog.Open(path, &linelog.Options{Most: sizeMost, Sync: true})
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	tries, err := linelog.Open(refusedPath(path), &linelog.Options{Most: refusedMost})
	if err != nil {
		return nil, errline.Join(fmt.Errorf("audit log: %w", err), acts.Close())
	}
	return &Log{acts, &refused{file: tries}}, nil
}

// refusedPath is where the log at path has what was refused.
func refusedPath(path string) string {
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + "-refused" + ext
}

// Close closes the files.
func (l *Log) Close() error { return errline.Join(l.refused.close(), l.acts.Close()) }

// Add writes an entry; it is on the disk when nil is returned, or, if a stranger was refused,
// counted. A zero Time becomes the present.
func (l *Log) Add(e Entry) error {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if e.Who == "" {
		l.refused.add(e)
		return nil
	}
	if err := write(l.acts, e); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	return nil
}

// write appends an entry to a file, its texts cut to their bounds.
func write(f *linelog.File, e Entry) error {
	for _, text := range []*string{&e.Who, &e.From, &e.Action, &e.Result} {
		*text = cut(*text, textMost)
	}
	e.Detail = cut(e.Detail, detailMost)
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return f.Append(line)
}

func cut(s string, most int) string { return strings.ToValidUTF8(s[:min(len(s), most)], "�") }
