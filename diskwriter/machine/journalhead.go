package machine

import (
	"bytes"
	"fmt"

	"troy/internal/format"
)

// recordHead is the first line of a record.
type recordHead struct {
	format.Head

	Unknown format.Unknown `json:",embed"`
}

// splitHead returns the two parts of a record, or why this program must not touch it.
func splitHead(content []byte) (h recordHead, p []byte, err error) {
	line, p, found := bytes.Cut(content, []byte("\n"))
	if !found {
		return h, nil, fmt.Errorf("%w: a record has no head; nothing was written", ErrRecord)
	}
	return h, p, JournalKind.Read(line, &h)
}

// join is the content of a record.
func (h *recordHead) join(p []byte) ([]byte, error) {
	line, err := format.Marshal(h)
	if err == nil && len(line) >= maxHead {
		err = fmt.Errorf("a head of %d bytes", len(line))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return append(append(line, '\n'), p...), nil
}

// Head is that of what is written beside the journal, and of a record that is not there yet: the
// format that the journal has by now.
func (j *Journal) Head() format.Head {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.head()
}

func (j *Journal) head() format.Head {
	h := format.Head{Format: JournalKind.Oldest}
	for r := range Record(recordCount) {
		if now := j.newest(r); now.content != nil {
			if is, _, err := splitHead(now.content); err == nil {
				h.Format = max(h.Format, is.Format)
			}
		}
	}
	if h.Format == JournalKind.Current() {
		JournalKind.Stamp(&h)
	}
	return h
}

// Raise makes the format of all records that of this program. Nothing else does: an agent of another
// release may have to read the journal next, until the release that calls it is known to be good.
func (j *Journal) Raise() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for r := range Record(recordCount) {
		now := j.newest(r)
		if now.content == nil {
			continue
		}
		h, p, err := splitHead(now.content)
		if err != nil {
			return err
		}
		if h.Format >= JournalKind.Current() {
			continue
		}
		JournalKind.Stamp(&h.Head)
		if err := j.replace(r, now, &h, p); err != nil {
			return err
		}
	}
	return nil
}
