package machine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"

	"troy/internal/digest"
	"troy/internal/format"
	"troy/internal/guid"
	"troy/vhdx"
)

// Edit is a value of the machine's own in one of the fields of a version: bytes that Personalise
// puts over those that the version has there.
type Edit struct {
	Offset int64  `json:"offset"` // on the virtual disk, in bytes
	Data   []byte `json:"data"`
	// Pages has the SHA-256 of each page of 4 KiB as published: of the one that Offset is in, and of
	// those that follow, up to the end of Data at least.
	Pages  []digest.Sum `json:"pages"`
	Secret bool         `json:"-"` // the journal never gets it

	Unknown format.Unknown `json:",embed"`
}

// Identity is what a machine is called in Windows, and what else is its own there, in one version.
type Identity struct {
	Image    string // the version, as its label says
	Version  int
	Manifest string

	// Of says what it was made of, in a word of the caller's, so that he need not make it again; it is
	// never empty.
	Of     string
	Values map[string]string // names and whatever else is no secret, for people to read
	// Edits are what all of it comes to in this version, in any order; none where the version has no
	// place for any of it. Plain is what is written, and kept in the journal, where the secrets are not
	// to be had; nil: the Edits that are no secret.
	Edits, Plain []Edit
}

// What of an identity a journal keeps at most. Four versions of this size fit a record.
const (
	maxKeptBytes  = 128 << 10 // of edits that are no secret
	maxKeptPages  = 512       // hashes in them
	maxKeptValues = 4 << 10   // bytes of Of, and of the values as JSON
)

// identityRecord is what the machine is to be called, and what its boot child is called.
type identityRecord struct {
	Versions []versionEdits `json:"versions,omitempty"` // none: no identity is wanted
	Applied  *appliedRecord `json:"applied,omitempty"`

	Unknown format.Unknown `json:",embed"`
}

// versionEdits is what the identity comes to in one version.
type versionEdits struct {
	Image    string            `json:"image"`
	Version  int               `json:"version"`
	Manifest string            `json:"manifest,omitempty"`
	Of       string            `json:"of"`
	Values   map[string]string `json:"values,omitempty"`
	Sum      string            `json:"sum"`             // SumEdits of all of them, secrets too
	Edits    []Edit            `json:"edits,omitempty"` // where the secrets are not to be had

	Unknown format.Unknown `json:",embed"`
}

// appliedRecord says which identity a boot child has.
type appliedRecord struct {
	Session guid.GUID         `json:"session"` // DataWriteGuid of the boot child
	Sum     string            `json:"sum"`     // SumEdits
	Values  map[string]string `json:"values,omitempty"`

	Unknown format.Unknown `json:",embed"`
}

// SumEdits identifies edits, in hex: it depends on their places and bytes, and not on their order.
func SumEdits(edits []Edit) string {
	h := sha256.New()
	var b [16]byte
	for _, e := range inOrder(edits) {
		binary.LittleEndian.PutUint64(b[:], uint64(e.Offset))
		binary.LittleEndian.PutUint64(b[8:], uint64(len(e.Data)))
		h.Write(b[:])
		h.Write(e.Data)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func inOrder(edits []Edit) []Edit {
	sorted := slices.Clone(edits)
	slices.SortStableFunc(sorted, func(a, b Edit) int { return cmp.Compare(a.Offset, b.Offset) })
	return sorted
}

// Want notes in the journal what the machine is to be called in a version that it boots, or that is
// staged; nil: no longer anything. It comes before Commit and before Personalise, so that a start
// after a power cut knows that the machine has to be named, and how: all but the secrets is kept.
// The pages are compared with the version as they lie on the disk, so that after Want only a session
// can keep Personalise from naming the machine. What is wanted in other versions on the disk stays,
// until Want is called for them: a machine that goes back without a server is called what it was.
//
// Errors: ErrIdentity, ErrPage (as *PageError): nothing was written; *StepError.
func (m *Machine) Want(ctx context.Context, id *Identity) error {
	if err := m.ready(opWant); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if id == nil {
		return m.want(func(r *machineRecord) { r.wantNothing() })
	}
	view, err := m.contentOf(id.which())
	if err != nil {
		return err
	}
	return m.wantIn(view, id)
}

// ContentOf is the virtual disk of a version that the machine boots, without the session, or that is
// staged, for the caller to make its Edits from. It is valid until the next operation. Errors:
// ErrIdentity for any other version, ErrReopen, ErrReinstalling.
func (m *Machine) ContentOf(l Label) (*vhdx.Chain, error) {
	if err := m.ready(opWant); err != nil {
		return nil, err
	}
	return m.contentOf(l.which())
}

func (m *Machine) contentOf(v which) (*vhdx.Chain, error) {
	disks := m.holding(v)
	if disks == nil {
		return nil, fmt.Errorf("%w: %s version %d neither starts on this machine nor is staged; nothing was written", ErrIdentity, v.image, v.version)
	}
	return chainOf(disks)
}

// Want is Machine.Want for the version that is being reinstalled: call it after all was written and
// before Finish.
func (in *Reinstaller) Want(ctx context.Context, id *Identity) error {
	if err := in.usable(ctx); err != nil {
		return err
	}
	if id == nil {
		return in.m.want(func(r *machineRecord) { r.wantNothing() })
	}
	if id.which() != (which{in.req.Image, in.req.Version, in.req.Manifest}) {
		return fmt.Errorf("%w: %s version %d is not the version that is being installed; nothing was written", ErrIdentity, id.Image, id.Version)
	}
	return in.m.wantIn(in.view, id)
}

// holding returns the files that show a version: the one that starts, or the staged one.
func (m *Machine) holding(v which) []*diskFile {
	is := func(d *diskFile) bool {
		l, known := m.rec.label(d.guid())
		return known && l.which() == v
	}
	if is(m.chain[0]) {
		return m.chain
	}
	if d := m.staged(); d != nil && is(d) {
		return append([]*diskFile{d}, m.chain...)
	}
	return nil
}

// wantIn checks an identity against a version, and notes it.
func (m *Machine) wantIn(view io.ReaderAt, id *Identity) error {
	if err := id.checkSize(); err != nil {
		return err
	}
	for _, edits := range [][]Edit{id.Edits, id.plain()} {
		own, err := newOwnPages(edits, bootLayout(m.boot.meta.VirtualDiskSize, m.boot.meta.LogicalSectorSize))
		if err != nil {
			return err
		}
		if err := m.asPublished(opWant, own, view); err != nil {
			return err
		}
	}
	return m.want(func(r *machineRecord) { r.wantIdentity(id) })
}

// checkSize refuses what a record would not hold.
func (id *Identity) checkSize() error {
	var data, pages int
	for _, e := range id.plain() {
		data, pages = data+len(e.Data), pages+len(e.Pages)
	}
	values, err := format.Marshal(id.Values)
	if err != nil {
		return fmt.Errorf("%w: values: %w; nothing was written", ErrIdentity, err)
	}
	if id.Of == "" {
		return fmt.Errorf("%w: it says not what it was made of; nothing was written", ErrIdentity)
	}
	if n := len(id.Of) + len(values); data > maxKeptBytes || pages > maxKeptPages || n > maxKeptValues {
		return fmt.Errorf("%w: %d bytes in fields of %d pages and %d bytes of values, the journal keeps %d, %d and %d; nothing was written",
			ErrIdentity, data, pages, n, maxKeptBytes, maxKeptPages, maxKeptValues)
	}
	return nil
}

// plain are the edits that the journal keeps.
func (id *Identity) plain() []Edit {
	if id.Plain != nil {
		return id.Plain
	}
	return slices.DeleteFunc(slices.Clone(id.Edits), func(e Edit) bool { return e.Secret })
}

// want saves a record that wants something else.
func (m *Machine) want(change func(*machineRecord)) error {
	r := m.rec.clone()
	if change(r); reflect.DeepEqual(r.Identity, m.rec.Identity) {
		return nil
	}
	return m.step(opWant, "record the identity", func() error { return m.saveRecord(change) })
}

// wantIdentity forgets the edits of versions that are no longer on the disk.
func (r *machineRecord) wantIdentity(id *Identity) {
	of := versionEdits{Image: id.Image, Version: id.Version, Manifest: id.Manifest, Of: id.Of, Sum: SumEdits(id.Edits)}
	if len(id.Values) > 0 {
		of.Values = maps.Clone(id.Values)
	}
	for _, e := range inOrder(id.plain()) {
		e.Data, e.Pages = slices.Clone(e.Data), slices.Clone(e.Pages)
		of.Edits = append(of.Edits, e)
	}
	now := &identityRecord{Versions: []versionEdits{of}}
	if old := r.Identity; old != nil {
		now.Applied, now.Unknown = old.Applied, old.Unknown
		for _, v := range old.Versions {
			if v.which() != of.which() && r.holds(v) {
				now.Versions = append(now.Versions, v)
			}
		}
	}
	r.Identity = now
}

func (id *Identity) which() which { return which{id.Image, id.Version, id.Manifest} }

func (v *versionEdits) which() which { return which{v.Image, v.Version, v.Manifest} }

// holds tells whether a file is known to hold that version.
func (r *machineRecord) holds(v versionEdits) bool {
	labels := append([]Label{r.Base}, r.Layers...)
	if r.Merge != nil {
		labels = append(labels, r.Merge.Top)
	}
	return slices.ContainsFunc(labels, func(l Label) bool { return l.which() == v.which() })
}

// wantNothing keeps what the boot child is called: its session may live on.
func (r *machineRecord) wantNothing() {
	switch old := r.Identity; {
	case old == nil:
	case old.Applied == nil:
		r.Identity = nil
	default:
		r.Identity = &identityRecord{Applied: old.Applied, Unknown: old.Unknown}
	}
}

// Wanted is what the journal knows of the identity that the machine is to have in the version that
// it boots: without the secrets, and without anything when the version is one that Want was not
// called for. nil: there is none.
func (m *Machine) Wanted() *Identity {
	r := m.rec.Identity
	if m.reinstalling || r == nil || len(r.Versions) == 0 {
		return nil
	}
	l, _ := m.rec.label(m.chain[0].guid())
	id := &Identity{Image: l.Image, Version: l.Version, Manifest: l.Manifest}
	if v := m.wanted(m.chain[0]); v != nil {
		id.Of, id.Values, id.Edits = v.Of, v.Values, v.Edits
	}
	return id
}

// wanted is what the identity comes to in the version that a file is the top of; nil: not known.
func (m *Machine) wanted(d *diskFile) *versionEdits {
	l, known := m.rec.label(d.guid())
	if m.rec.Identity == nil || !known {
		return nil
	}
	for i := range m.rec.Identity.Versions {
		v := &m.rec.Identity.Versions[i]
		if v.which() == l.which() {
			return v
		}
	}
	return nil
}

// Applied gives the values that were wanted when the boot child got its identity; nil: it has none,
// or that is unknown (State tells).
func (m *Machine) Applied() map[string]string {
	if a, _ := m.applied(); a != nil {
		return a.Values
	}
	return nil
}

// applied is the identity of the boot child; nil: none. A session that Windows made has that of the
// boot child it was made on. Which one that was is unknown when Windows ran after a change was cut
// off, before Recover.
func (m *Machine) applied() (a *appliedRecord, known bool) {
	if m.reinstalling || len(m.rec.Sessions) == 0 {
		return nil, false
	}
	if m.rec.Identity == nil || m.rec.Identity.Applied == nil {
		return nil, true
	}
	a = m.rec.Identity.Applied
	switch {
	case a.Session == m.boot.guid():
		return a, true
	case m.untouched():
		return nil, true
	case slices.Equal(m.rec.Sessions, []guid.GUID{a.Session}):
		return a, true
	}
	return nil, false
}

// untouched tells that the boot child is known to be as it was made here.
func (m *Machine) untouched() bool { return slices.Contains(m.rec.Sessions, m.boot.guid()) }

// settleSession notes which of the boot children that may be there is there. Without an identity
// that makes no difference.
func (m *Machine) settleSession(op Op) error {
	if m.reinstalling || m.rec.Identity == nil || !m.untouched() {
		return nil
	}
	id, a := m.boot.guid(), m.rec.Identity.Applied
	stale := a != nil && a.Session != id
	if len(m.rec.Sessions) == 1 && !stale {
		return nil
	}
	return m.step(op, "record what the boot child is", func() error {
		return m.saveRecord(func(r *machineRecord) {
			if r.Sessions = []guid.GUID{id}; stale {
				r.dropApplied()
			}
		})
	})
}

func (r *machineRecord) dropApplied() {
	if r.Identity.Applied = nil; len(r.Identity.Versions) == 0 {
		r.Identity = nil
	}
}
