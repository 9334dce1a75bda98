package machine

import (
	"fmt"
	"slices"

	"troy/internal/format"
	"troy/internal/guid"
)

// Label says what a file, known by its DataWriteGuid, holds.
type Label struct {
	GUID    guid.GUID `json:"guid"`
	Image   string    `json:"image"`
	Version int       `json:"version"`
	// Manifest is the SHA-256 of the version's manifest, in hex: another store may give the same
	// number to another content. "" = not recorded.
	Manifest string `json:"manifest,omitempty"`

	Unknown format.Unknown `json:",embed"`
}

// is tells whether both say the same of one file, as far as this program knows.
func (l Label) is(o Label) bool {
	return l.GUID == o.GUID && l.which() == o.which()
}

// which version a label, an order or edits are of.
type which struct {
	image    string
	version  int
	manifest string
}

func (l Label) which() which { return which{l.Image, l.Version, l.Manifest} }

// machineRecord is RecordMachine. Everything in it is a help: which file is parent of which is read
// from the files, and a label counts only for a file that carries its GUID.
type machineRecord struct {
	Base     Label        `json:"base"`
	Layers   []Label      `json:"layers,omitempty"`   // slots that were finished
	Merge    *mergeRecord `json:"merge,omitempty"`    // set before the first write to base
	Sessions []guid.GUID  `json:"sessions,omitempty"` // DataWriteGuids that an untouched boot child may have

	Reinstall *reinstallRecord `json:"reinstall,omitempty"` // set before the boot child is poisoned
	Identity  *identityRecord  `json:"identity,omitempty"`  // what the machine is to be called, and is

	Unknown format.Unknown `json:",embed"`
}

// mergeRecord says that the slots from Top downwards are being copied into Base.
type mergeRecord struct {
	Top    Label     `json:"top"`
	Base   guid.GUID `json:"base"`
	Cursor int64     `json:"cursor"` // all bytes of the virtual disk below are done
	Done   bool      `json:"done"`   // base alone shows what Top shows

	Unknown format.Unknown `json:",embed"`
}

// reinstallRecord is the order to make Base another version. It counts only while the boot child is
// poisoned, or is none.
type reinstallRecord struct {
	Image    string    `json:"image"`
	Version  int       `json:"version"`
	Manifest string    `json:"manifest,omitempty"`
	Base     guid.GUID `json:"base"`   // that the parent got for this order: Cursor means no other one
	Cursor   int64     `json:"cursor"` // all bytes of the virtual disk below are done

	Unknown format.Unknown `json:",embed"`
}

// loadRecord returns an empty record when there is none or it is damaged.
func loadRecord(j *Journal) (*machineRecord, error) {
	p, err := j.Get(RecordMachine)
	if err != nil {
		return nil, err
	}
	r := &machineRecord{}
	if format.Unmarshal(p, r) != nil {
		return &machineRecord{}, nil
	}
	return r, nil
}

func (r *machineRecord) save(j *Journal) error {
	p, err := format.Marshal(r)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return j.Put(RecordMachine, p)
}

// clone lets a step save a changed record without believing it before it is durable.
func (r *machineRecord) clone() *machineRecord {
	c := *r
	c.Layers, c.Sessions = slices.Clone(r.Layers), slices.Clone(r.Sessions)
	if r.Merge != nil {
		m := *r.Merge
		c.Merge = &m
	}
	if r.Reinstall != nil {
		in := *r.Reinstall
		c.Reinstall = &in
	}
	if r.Identity != nil {
		id := *r.Identity
		c.Identity = &id
	}
	return &c
}

// label returns what is known of the file with that DataWriteGuid.
func (r *machineRecord) label(id guid.GUID) (Label, bool) {
	if m := r.Merge; m != nil && m.Base == id {
		return m.Top, m.Done
	}
	if r.Base.GUID == id && !id.IsZero() {
		return r.Base, true
	}
	for _, l := range r.Layers {
		if l.GUID == id {
			return l, true
		}
	}
	return Label{}, false
}

// mayBe returns why a parent that another program is said to have made is not what it is called:
// it carries a GUID that the journal knows, so no other program wrote to it since.
func (r *machineRecord) mayBe(l Label) error {
	if r.Merge != nil && r.Merge.Base == l.GUID && !r.Merge.Done || r.Reinstall != nil && r.Reinstall.Base == l.GUID && !r.Base.is(l) {
		return fmt.Errorf("%w: %s is half written; nothing was written", ErrChain, BaseName)
	}
	if is, known := r.label(l.GUID); known && (is.Image != l.Image || is.Version != l.Version) {
		return fmt.Errorf("%w: %s is %s version %d; nothing was written", ErrChain, BaseName, is.Image, is.Version)
	}
	return nil
}

// keepLayers drops the labels of slots that are no longer wanted.
func (r *machineRecord) keepLayers(keep func(guid.GUID) bool) {
	r.Layers = slices.DeleteFunc(r.Layers, func(l Label) bool { return !keep(l.GUID) })
}
