package pcdisk

import (
	"bytes"
	"errors"
	"fmt"

	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/internal/format"
	"troy/internal/guid"
)

// diskRecord is the journal's disk record: what provisioning saw.
type diskRecord struct {
	Disk  guid.GUID      `json:"disk"`
	ESP   guid.GUID      `json:"esp"`
	Data  guid.GUID      `json:"data"`
	Files []ntfs.Mapping `json:"files"` // in the order of Names
	Kept  *keptRecord    `json:"kept,omitempty"`

	Unknown format.Unknown `json:",embed"`
}

// keptRecord is a partition beside Troy's that resets, updates and reinstalls leave alone. No program
// makes one yet.
type keptRecord struct {
	GUID guid.GUID `json:"guid"` // of the partition
	// Clear says when it is emptied; "" = never. A record with another rule needs the word
	// clearWord: a program that cannot empty the partition has to stay away from the disk.
	Clear string `json:"clear,omitempty"`

	Unknown format.Unknown `json:",embed"`
}

// clearWord is the word of a disk with a partition that is emptied.
const clearWord = "clear"

// Open judges the volume, maps the files, compares them with the record and opens the machine. It
// writes nothing. See the package comment for the rule; note is a line worth showing, or empty.
func (t *Target) Open() (m *machine.Machine, note string, err error) {
	if note, err = t.Admit(); err != nil {
		return nil, "", err
	}
	m, err = machine.Open(t.Files())
	return m, note, err
}

// Admit does what Open does, but for opening the machine: afterwards Files may be written, by
// machine.Reinstall or machine.OpenForHeal where Open refuses what the files hold. It writes
// nothing.
func (t *Target) Admit() (note string, err error) {
	volume, verdict := ntfs.Judge(t.part, t.part.Size())
	if verdict.Condition == ntfs.Refused {
		return "", verdict.Err
	}
	if err := t.mapFiles(volume); err != nil {
		return "", err
	}
	return t.compare(volume, verdict)
}

// MapFiles judges the volume and maps the files without opening a machine: for code that makes
// the files, as provisioning does.
func (t *Target) MapFiles() (machine.Files, error) {
	volume, verdict := ntfs.Judge(t.part, t.part.Size())
	if verdict.Condition != ntfs.Clean {
		return machine.Files{}, fmt.Errorf("the volume is not clean: %s", verdict)
	}
	err := t.mapFiles(volume)
	return t.Files(), err
}

// Judge judges the NTFS volume as Open does.
func (t *Target) Judge() ntfs.Verdict {
	_, verdict := ntfs.Judge(t.part, t.part.Size())
	return verdict
}

// Mappings returns where the files lie, in the order of Names; nil before Open or MapFiles.
func (t *Target) Mappings() []ntfs.Mapping {
	if t.files == nil {
		return nil
	}
	return t.record().Files
}

func (t *Target) mapFiles(volume *ntfs.Volume) error {
	files, err := mapFiles(volume, t.part, Names())
	if err == nil {
		t.files = files
	}
	return err
}

// Files returns the mapped files; nil storages before Open.
func (t *Target) Files() machine.Files {
	file := func(name string) machine.File {
		f := t.files[name]
		if f == nil {
			return machine.File{}
		}
		return machine.File{Storage: f, Size: f.Size()}
	}
	return machine.Files{
		Base:    file(machine.BaseName),
		LayerA:  file(machine.LayerAName),
		LayerB:  file(machine.LayerBName),
		Boot:    file(machine.BootName),
		Journal: file(machine.JournalName),
	}
}

// compare holds what is on the disk against the record.
func (t *Target) compare(volume *ntfs.Volume, verdict ntfs.Verdict) (note string, err error) {
	journal, err := machine.OpenJournal(t.Files().Journal)
	if err != nil {
		return "", err
	}
	old, err := readRecord(journal)
	if err != nil {
		return "", err
	}
	if old != nil && (old.Disk != t.Table.DiskGUID || old.ESP != t.ESP.GUID || old.Data != t.Data.GUID) {
		return "", fmt.Errorf("%w: disk %s, recorded was %s", ErrForeign, t.Table.DiskGUID, old.Disk)
	}
	moved := t.moved(old)
	switch {
	case verdict.Condition == ntfs.Clean && moved == nil:
		return "", nil
	case verdict.Condition == ntfs.Clean:
		return fmt.Sprintf("recording the new places of the files: %v", moved), nil
	case moved != nil:
		return "", fmt.Errorf("%w: %s; %w", ErrUnclean, verdict, moved)
	}
	return t.trustUnclean(volume, verdict)
}

// moved returns the first difference between record and disk, or nil.
func (t *Target) moved(old *diskRecord) error {
	now := t.record()
	if old == nil || len(old.Files) != len(now.Files) {
		return fmt.Errorf("%w: nothing is recorded", ntfs.ErrMoved)
	}
	for i := range now.Files {
		if err := now.Files[i].SameAs(old.Files[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t *Target) record() *diskRecord {
	r := &diskRecord{Disk: t.Table.DiskGUID, ESP: t.ESP.GUID, Data: t.Data.GUID}
	for _, name := range Names() {
		r.Files = append(r.Files, t.files[name].Mapping())
	}
	return r
}

// Record writes the disk record if it is not what is there already; what this program does not see
// on the disk stays as it was. Call it only after Open allowed to go on.
func (t *Target) Record() error {
	journal, err := machine.OpenJournal(t.Files().Journal)
	if err != nil {
		return err
	}
	r := t.record()
	old, err := readRecord(journal)
	var newer *format.NeedsError
	switch {
	case errors.As(err, &newer):
		return err
	case err == nil && old != nil && old.Disk == r.Disk:
		r.Kept, r.Unknown = old.Kept, old.Unknown
		for i := range min(len(r.Files), len(old.Files)) {
			if r.Files[i].SameAs(old.Files[i]) == nil {
				r.Files[i].Unknown = old.Files[i].Unknown
			}
		}
	}
	want, err := format.Marshal(r)
	if err != nil {
		return err
	}
	if have, err := journal.Get(machine.RecordDisk); err == nil && bytes.Equal(have, want) {
		return nil
	}
	return journal.Put(machine.RecordDisk, want)
}

// readRecord returns nil when there is no record, or one that is damaged.
func readRecord(j *machine.Journal) (*diskRecord, error) {
	b, err := j.Get(machine.RecordDisk)
	if err != nil || b == nil {
		return nil, err
	}
	var r diskRecord
	if format.Unmarshal(b, &r) != nil {
		return nil, nil
	}
	if r.Kept != nil && (r.Kept.GUID.IsZero() || r.Kept.Clear != "") {
		return nil, &format.NeedsError{Document: machine.JournalKind.Name, Words: []string{clearWord}}
	}
	return &r, nil
}

// writeRecord writes the disk record and flushes: the last act of making a machine.
func (t *Target) writeRecord() error {
	if err := t.Record(); err != nil {
		return err
	}
	return t.part.Sync()
}
