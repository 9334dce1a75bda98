package machine

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"reflect"
	"slices"
	"testing"

	"troy/internal/block"
	"troy/internal/digest"
	"troy/internal/guid"
)

// noSecret looks for the secrets in all that the journal ever wrote.
func noSecret(t *testing.T, r *rig, edits []Edit) {
	t.Helper()
	f := r.disk.File(JournalName)
	all := make([]byte, f.Size())
	must(t, block.ReadFull(f, all, 0))
	found := 0
	for _, e := range edits {
		for _, text := range []string{string(e.Data), base64.StdEncoding.EncodeToString(e.Data), hex.EncodeToString(e.Data)} {
			if !bytes.Contains(all, []byte(text)) {
				continue
			}
			if found++; e.Secret {
				t.Errorf("the journal has the secret at %d of the disk", e.Offset)
			}
		}
	}
	if found == 0 {
		t.Error("the journal has no edit at all, so this test finds nothing")
	}
}

// Each version has an identity of its own, which is there before the version starts.
func TestPersonaliseVersions(t *testing.T) {
	r, edits := named(t, 35, 4096)
	m := open(t, r.disk)
	must(t, m.Personalise(ctx, edits))
	u := r.smallUpdate(3, 35)
	must(t, u.stage(m))
	next := randomEdits(u.data, 36)
	must(t, m.Want(ctx, &Identity{Image: image, Version: 3, Of: "PC-17", Values: map[string]string{"name": "PC-17"}, Edits: next}))
	isNamed(t, r, edits, "the next version is staged")
	if s := m.State(); s.IdentityOf != "PC-17" || s.IdentityWanted != SumEdits(edits) || s.StagedIdentityOf != "PC-17" || !s.IdentityKept {
		t.Errorf("the next version is staged: %+v", s)
	}
	staged, err := m.ContentOf(Label{Image: image, Version: 3})
	must(t, err)
	got, err := readDiskOf(staged, r.virtual)
	must(t, err)
	diff(t, got, u.data, "the content of the staged version")
	if _, err := m.ContentOf(Label{Image: image, Version: 4}); !errors.Is(err, ErrIdentity) {
		t.Errorf("the content of no version: %v", err)
	}
	must(t, m.Commit(ctx))
	isPending(t, r, u.data, "the next version")
	must(t, m.Personalise(ctx, next))
	old := r.now
	r.now = u.data
	isNamed(t, r, next, "the next version, named")
	must(t, m.Rollback(ctx))
	isPending(t, r, old, "the old version")
	must(t, m.Personalise(ctx, edits))
	r.now = old
	isNamed(t, r, edits, "the old version, named")

	// Another name in the next version: this one keeps its own.
	must(t, m.Reset(ctx))
	must(t, u.stage(m))
	must(t, m.Want(ctx, &Identity{Image: image, Version: 3, Of: "PC-18", Values: map[string]string{"name": "PC-18"}, Edits: next}))
	if s := m.State(); m.Wanted().Of != "PC-17" || s.IdentityOf != "PC-17" || s.StagedIdentityOf != "PC-18" || !s.IdentityPending {
		t.Errorf("%+v, %+v", m.Wanted(), s)
	}
	must(t, m.Personalise(ctx, edits))
}

// A version that has no place for anything is asked for once, and nothing is pending in it.
func TestNothingToWrite(t *testing.T) {
	r, edits := named(t, 51, 512)
	m := open(t, r.disk)
	wanted(t, m, nil)
	s := m.State()
	if s.IdentityPending || s.IdentityOf != "PC-17" || s.IdentityWanted != SumEdits(nil) || s.IdentityApplied != "" {
		t.Errorf("nothing to write: %+v", s)
	}
	r.disk.Start()
	wanted(t, m, nil)
	must(t, m.Personalise(ctx, nil))
	if n := r.disk.Written(); n != 0 {
		t.Errorf("%d bytes written for nothing", n)
	}
	wanted(t, m, edits)
	isPending(t, r, r.now, "now there is something")
	if err := m.Personalise(ctx, nil); !errors.Is(err, ErrIdentity) {
		t.Errorf("nothing, where something is wanted: %v", err)
	}
	long := identityOf(m.State(), edits) // one value of two is secret, in one place
	long.Plain = []Edit{{Offset: edits[1].Offset, Data: []byte("not the secret"), Pages: edits[1].Pages}}
	must(t, m.Want(ctx, long))
	if id := m.Wanted(); SumEdits(id.Edits) != SumEdits(long.Plain) || m.State().IdentityWanted != SumEdits(edits) {
		t.Errorf("the journal has %+v", id)
	}
	noSecret(t, r, []Edit{edits[1], long.Plain[0]})
	must(t, m.Personalise(ctx, m.Wanted().Edits))
	isNamed(t, r, long.Plain, "without the secret")
	must(t, m.Reset(ctx))
	long.Plain[0].Pages = []digest.Sum{{1}, {2}, {3}, {4}}[:len(long.Plain[0].Pages)]
	if err := m.Want(ctx, long); !errors.Is(err, ErrPage) {
		t.Errorf("another page, without the secret: %v", err)
	}

	secret := slices.Clone(edits[1:2])
	wanted(t, m, secret)
	must(t, m.Personalise(ctx, m.Wanted().Edits))
	isPending(t, r, r.now, "all of it is secret, and was not there")
	must(t, m.Personalise(ctx, secret))
	isNamed(t, r, secret, "all of it is secret")
}

// A version that is reinstalled has its identity before it starts.
func TestPersonaliseReinstalled(t *testing.T) {
	r, edits := named(t, 37, 512)
	must(t, open(t, r.disk).Personalise(ctx, edits))
	version := noise(int(r.virtual), 38)
	order := &ReinstallRequest{Image: image, Version: 9, Manifest: "nine"}
	in, err := Reinstall(ctx, filesOf(r.disk), order)
	must(t, err)
	must(t, writeHalves(in, version, r.virtual))
	edits = randomEdits(version, 39)
	id := &Identity{Image: image, Version: 8, Manifest: "nine", Of: "PC-17", Edits: edits}
	if err := in.Want(ctx, id); !errors.Is(err, ErrIdentity) {
		t.Errorf("another version: %v", err)
	}
	id.Version = 9
	must(t, in.Want(ctx, id))
	must(t, in.Finish(ctx))
	isPending(t, r, version, "reinstalled")
	r.now = version
	must(t, open(t, r.disk).Personalise(ctx, edits))
	isNamed(t, r, edits, "reinstalled and named")
}

// Windows that ran after a change was cut off, before the next start of the agent, may have the name
// or not: nothing is claimed until the next reset.
func TestIdentityUnknown(t *testing.T) {
	r, edits := named(t, 44, 512)
	version := r.now
	m := open(t, r.disk)
	must(t, m.saveRecord(func(rec *machineRecord) { // what Personalise was about to do
		rec.Sessions = append(rec.Sessions, guid.New())
		rec.Identity.Applied = &appliedRecord{Session: rec.Sessions[1], Sum: SumEdits(edits)}
	}))
	cut := r.disk.Fork()
	session{seed: 44}.run(t, r)
	m = open(t, r.disk)
	must(t, m.Recover(ctx))
	if s := m.State(); !s.SessionWritten || !s.IdentityUnknown || s.IdentityApplied != "" || s.IdentityPending {
		t.Errorf("%+v", s)
	}
	must(t, m.Reset(ctx))
	isPending(t, r, version, "reset")

	r.disk, r.now = cut, version // the agent comes first
	m = open(t, r.disk)
	must(t, m.Recover(ctx))
	session{seed: 44}.run(t, r)
	if s := open(t, r.disk).State(); !s.SessionWritten || s.IdentityUnknown || s.IdentityApplied != "" {
		t.Errorf("%+v", s)
	}
}

// The largest identities of as many versions as a disk may hold fit the record.
func TestIdentityFitsTheJournal(t *testing.T) {
	edit := Edit{Offset: 1 << 40, Data: noise(maxKeptBytes/256, 1), Pages: make([]digest.Sum, maxKeptPages/256)}
	values := map[string]string{"k": string(bytes.Repeat([]byte{'"'}, maxKeptValues/2-5))}
	of := versionEdits{Image: image, Of: "o", Values: values, Manifest: hex.EncodeToString(noise(32, 1)), Sum: hex.EncodeToString(noise(32, 1)), Edits: slices.Repeat([]Edit{edit}, 256)}
	if err := (&Identity{Of: "o", Values: values, Edits: of.Edits}).checkSize(); err != nil {
		t.Error(err)
	}
	d, j := newJournal(t)
	r := &machineRecord{Identity: &identityRecord{Versions: slices.Repeat([]versionEdits{of}, 4), Applied: &appliedRecord{Values: values}}}
	must(t, r.save(j))
	if have, err := loadRecord(openJournal(t, d)); err != nil || !reflect.DeepEqual(have.Identity, r.Identity) {
		t.Errorf("something else was read (%v)", err)
	}
}
