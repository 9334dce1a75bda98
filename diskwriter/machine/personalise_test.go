package machine

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"troy/internal/block"
	"troy/internal/digest"
	"troy/internal/guid"
	"troy/vhdx"
)

// pagesAt are the hashes of the pages of a version that bytes lie in.
func pagesAt(version []byte, off, n int64) (sums []digest.Sum) {
	for at := off / pageSize * pageSize; at < off+n; at += pageSize {
		sums = append(sums, sha256.Sum256(version[at:at+pageSize]))
	}
	return sums
}

// randomEdits are values in a version: next to each other, across pages and blocks, and at both ends
// of the disk. The second one is secret.
func randomEdits(version []byte, seed uint64) (edits []Edit) {
	rnd := rand.New(rand.NewPCG(seed, 31))
	size := int64(len(version))
	middle := rnd.Int64N(size/bootBlockSize-1)*bootBlockSize + bootBlockSize
	for _, r := range [][2]int64{{size - 7, 7}, {middle - 30, 60}, {middle + 100, 5}, {middle + 1000, 2*pageSize + 9}, {3, 36}, {middle/2 + 77, 4}} {
		e := Edit{Offset: r[0], Data: noise(int(r[1]), rnd.Uint64()), Pages: pagesAt(version, r[0], r[1]), Secret: len(edits) == 1}
		edits = append(edits, e)
	}
	return edits
}

// with is a version with edits over it.
func with(version []byte, edits []Edit) []byte {
	b := bytes.Clone(version)
	for _, e := range edits {
		copy(b[e.Offset:], e.Data)
	}
	return b
}

// wanted notes an identity for what the machine boots.
func wanted(t testing.TB, m *Machine, edits []Edit) {
	t.Helper()
	must(t, m.Want(ctx, identityOf(m.State(), edits)))
}

func identityOf(s State, edits []Edit) *Identity {
	return &Identity{Image: s.Image, Version: s.Version, Manifest: s.Manifest, Of: "PC-17", Values: map[string]string{"name": "PC-17"}, Edits: edits}
}

// named is a machine right after a reset, for which an identity is wanted. The boot child holds what
// a session left.
func named(t *testing.T, seed uint64, sector uint32) (r *rig, edits []Edit) {
	t.Helper()
	r = newRig(t, 6*mib, sector, 6*mib)
	u := r.randomUpdate(2, seed, 10)
	m := open(t, r.disk)
	must(t, u.stage(m))
	must(t, m.Commit(ctx))
	r.now = u.data
	session{seed: seed, dirty: true, odd: true, locator: true}.run(t, r)
	must(t, open(t, r.disk).Reset(ctx))
	r.now = u.data
	m = open(t, r.disk)
	edits = randomEdits(r.now, seed)
	wanted(t, m, edits)
	return r, edits
}

// isNamed wants the machine to show a version with edits, to all readers, and to say so.
func isNamed(t *testing.T, r *rig, edits []Edit, when string) {
	t.Helper()
	s := open(t, r.disk).State()
	if s.SessionWritten || s.IdentityPending || s.IdentityUnknown || s.IdentityApplied != SumEdits(edits) {
		t.Errorf("%s: %+v", when, s)
	}
	shows(t, r.disk, with(r.now, edits), when)
}

// isPending wants the machine to show a version as published, and to say that it has no name.
func isPending(t *testing.T, r *rig, version []byte, when string) {
	t.Helper()
	s := open(t, r.disk).State()
	if s.SessionWritten || !s.IdentityPending || s.IdentityUnknown || s.IdentityApplied != "" {
		t.Errorf("%s: %+v", when, s)
	}
	shows(t, r.disk, version, when)
}

// A name lasts through starts of Windows and merges, goes with every reset, commit and rollback, and
// comes back from the journal alone, which never gets the secrets.
func TestPersonalise(t *testing.T) {
	r, edits := named(t, 33, 512)
	plain := slices.DeleteFunc(slices.Clone(edits), func(e Edit) bool { return e.Secret })
	isPending(t, r, r.now, "wanted")
	m := open(t, r.disk)
	must(t, m.Personalise(ctx, edits))
	isNamed(t, r, edits, "named")
	r.disk.Start()
	must(t, m.Personalise(ctx, edits))
	wanted(t, m, edits)
	must(t, open(t, r.disk).Recover(ctx))
	if n := r.disk.Written(); n != 0 {
		t.Errorf("%d bytes written for a machine that is named", n)
	}
	version := r.now
	content, err := m.Content()
	must(t, err)
	got, err := readDiskOf(content, r.virtual)
	must(t, err)
	diff(t, got, version, "the version below, which is compared and mended")
	must(t, mergeAll(m))
	must(t, m.Relink(ctx))
	isNamed(t, r, edits, "merged")

	r.now = with(version, edits)
	session{seed: 34, dirty: true, odd: true, locator: true}.run(t, r)
	m = open(t, r.disk)
	if s := m.State(); !s.SessionWritten || s.IdentityApplied != SumEdits(edits) || s.IdentityUnknown || s.IdentityPending {
		t.Errorf("in the session: %+v", s)
	}
	if v := m.Applied(); !reflect.DeepEqual(v, map[string]string{"name": "PC-17"}) {
		t.Errorf("applied: %v", v)
	}
	must(t, m.Reset(ctx))
	isPending(t, r, version, "reset")

	r.now = version
	m = open(t, r.disk)
	id := m.Wanted()
	if id == nil || len(id.Edits) != len(plain) || SumEdits(id.Edits) != SumEdits(plain) || id.Values["name"] != "PC-17" {
		t.Fatalf("the journal has %+v", id)
	}
	must(t, m.Personalise(ctx, id.Edits))
	isNamed(t, r, plain, "named by the journal alone")
	if s := m.State(); s.IdentityWanted != SumEdits(edits) {
		t.Errorf("the secrets are not missed: %+v", s)
	}
	if err := m.Personalise(ctx, edits); !errors.Is(err, ErrSession) {
		t.Errorf("the secrets, without a reset: %v", err)
	}
	must(t, m.Reset(ctx))
	must(t, m.Personalise(ctx, edits))
	isNamed(t, r, edits, "named with the secrets")
	noSecret(t, r, edits)

	must(t, m.Want(ctx, nil))
	isNamed(t, r, edits, "no longer wanted")
	must(t, m.Reset(ctx))
	if s := open(t, r.disk).State(); s.IdentityPending || s.IdentityApplied != "" || s.IdentityUnknown || m.Wanted() != nil {
		t.Errorf("no longer wanted: %+v", s)
	}
	shows(t, r.disk, version, "no longer wanted, reset")
}

// What cannot be done is refused before anything is written, and the machine can be used on.
func TestPersonaliseRefuses(t *testing.T) {
	r, edits := named(t, 40, 512)
	other := func(change func(e []Edit) []Edit) []Edit {
		c := slices.Clone(edits)
		for i := range c {
			c[i].Data, c[i].Pages = slices.Clone(c[i].Data), slices.Clone(c[i].Pages)
		}
		return change(c)
	}
	many := func(n, room int) (c []Edit) {
		for i := range n {
			off := int64(i) * int64(room)
			c = append(c, Edit{Offset: off, Data: make([]byte, room), Pages: pagesAt(r.now, off, int64(room))})
		}
		return c
	}
	for name, c := range map[string]struct {
		edits []Edit
		want  error
	}{
		"empty":                    {other(func(c []Edit) []Edit { c[1].Data = nil; return c }), ErrIdentity},
		"before the disk":          {other(func(c []Edit) []Edit { c[0].Offset = -5; return c }), ErrIdentity},
		"past the disk":            {other(func(c []Edit) []Edit { c[0].Offset++; return c }), ErrIdentity},
		"two in one place":         {other(func(c []Edit) []Edit { c[4].Offset, c[5].Offset = 300, 301; return c }), ErrIdentity},
		"a hash is missing":        {other(func(c []Edit) []Edit { c[1].Pages = c[1].Pages[:1]; return c }), ErrIdentity},
		"hashes past the disk":     {other(func(c []Edit) []Edit { c[0].Pages = append(c[0].Pages, c[0].Pages...); return c }), ErrIdentity},
		"two hashes of one page":   {other(func(c []Edit) []Edit { c[2].Pages[0][0] ^= 1; return c }), ErrIdentity},
		"too much for the journal": {many(1, maxKeptBytes+1), ErrIdentity},
		"another page":             {other(func(c []Edit) []Edit { c[4].Pages[0][3] ^= 1; return c }), ErrPage},
		"a page of the room":       {other(func(c []Edit) []Edit { c[4].Pages = append(c[4].Pages, digest.Sum{}); return c }), ErrPage},
	} {
		m := open(t, r.disk)
		r.disk.Start()
		err := m.Want(ctx, identityOf(m.State(), c.edits))
		if !errors.Is(err, c.want) || r.disk.Written() != 0 {
			t.Errorf("want, %s: %v, %d bytes written", name, err, r.disk.Written())
		}
		must(t, m.Want(ctx, identityOf(m.State(), edits)))
	}
	m := open(t, r.disk)
	if err := m.Want(ctx, &Identity{Image: image, Version: 7, Of: "PC-17", Edits: edits}); !errors.Is(err, ErrIdentity) {
		t.Errorf("another version: %v", err)
	}
	long := identityOf(m.State(), edits)
	long.Values = map[string]string{"name": string(make([]byte, maxKeptValues/6))} // a zero byte takes six in JSON
	if err := m.Want(ctx, long); !errors.Is(err, ErrIdentity) {
		t.Errorf("long values: %v", err)
	}
	refuse := func(what string, d []Edit, want error) {
		t.Helper()
		m := open(t, r.disk)
		r.disk.Start()
		if err := m.Personalise(ctx, d); !errors.Is(err, want) || r.disk.Written() != 0 {
			t.Errorf("personalise, %s: %v, %d bytes written", what, err, r.disk.Written())
		}
		if err := m.Recover(ctx); err != nil {
			t.Errorf("after personalise, %s: %v", what, err)
		}
	}
	refuse("nothing", nil, ErrIdentity)
	refuse("what is not wanted", randomEdits(r.now, 41), ErrIdentity)

	was := r.disk.Fork()
	page := edits[4].Offset / pageSize * pageSize
	chain, err := open(t, r.disk).Content()
	must(t, err)
	for e, err := range chain.Extents(page, pageSize) { // a page rots after Want
		must(t, err)
		write(t, r.disk.File([]string{LayerAName, BaseName}[e.Layer]), e.FileOffset, noise(pageSize, 8))
	}
	refuse("another page", edits, ErrPage)
	var wrong *PageError
	if err := open(t, r.disk).Personalise(ctx, edits); !errors.As(err, &wrong) || wrong.Offset != page || wrong.Want != edits[4].Pages[0] || wrong.Have == wrong.Want {
		t.Errorf("%+v", wrong)
	}

	r.disk = was.Fork()
	l := bootLayout(r.virtual, r.sector)
	write(t, r.disk.File(BootName), l.bitmapOffset(0), append([]byte{0, 0, 1}, make([]byte, pageSize-3)...))
	refuse("a bit in the boot child", edits, ErrSession)

	r.disk = was.Fork()
	session{seed: 42}.run(t, r)
	refuse("a session", edits, ErrSession)
	session{seed: 43, dirty: true}.run(t, r)
	if err := open(t, r.disk).Personalise(ctx, edits); !errors.Is(err, ErrSession) {
		t.Errorf("a session that was cut off: %v", err)
	}

	r.disk = was
	loseJournal(t, r.disk)
	refuse("without a journal", edits, ErrIdentity)
}

// Pages at both sides of the borders of chunks, by the naive reader.
func TestPersonaliseManyChunks(t *testing.T) {
	for _, c := range []struct {
		virtual int64
		sector  uint32
	}{{9*gib + 3*mib + 4096, 512}, {70*gib + 3*mib + 4096, 4096}} {
		r := newRig(t, c.virtual, c.sector, 64*mib)
		m := open(t, r.disk)
		content, err := m.Content()
		must(t, err)
		var edits []Edit
		page := func(off int64) []byte {
			p := make([]byte, pageSize)
			must(t, block.ReadFull(content, p, off))
			return p
		}
		chunk := int64(c.sector) << 23
		for at := chunk; at < c.virtual; at += chunk {
			edits = append(edits, Edit{Offset: at - 5, Data: []byte("ten  bytes"), Pages: []digest.Sum{sha256.Sum256(page(at - pageSize)), sha256.Sum256(page(at))}})
		}
		wanted(t, m, edits)
		must(t, m.Personalise(ctx, edits))
		for at := chunk; at < c.virtual; at += chunk {
			for _, k := range []int64{-2, -1, 0, 1} {
				want := page(at + k*pageSize)
				switch k {
				case -1:
					copy(want[pageSize-5:], "ten  ")
				case 0:
					copy(want, "bytes")
				}
				diff(t, naivePage(t, r, at+k*pageSize), want, "near a border")
			}
		}
	}
}

// An entry in the log holds the bitmaps of as many stretches of the disk as are allowed.
func TestPersonaliseFitsTheLog(t *testing.T) {
	for _, virtual := range []int64{8 * gib, 256 * gib, 2048 * gib} {
		l := bootLayout(virtual, 512)
		var edits []Edit
		for off := int64(0); off < virtual && len(edits) <= int(l.entryPages()); off += 16 * mib {
			edits = append(edits, Edit{Offset: off, Data: []byte{1}, Pages: make([]digest.Sum, 1)})
		}
		if _, err := newOwnPages(edits, l); !errors.Is(err, ErrIdentity) {
			t.Errorf("%d GiB: %d stretches: %v", virtual/gib, len(edits), err)
		}
		o, err := newOwnPages(edits[1:], l)
		must(t, err)
		e := &vhdx.LogEntry{SequenceNumber: 1, LogGUID: guid.New(), FlushedFileOffset: l.size, LastFileOffset: l.size}
		for off, b := range o.bitmaps(l) {
			e.Descriptors = append(e.Descriptors, vhdx.LogDescriptor{FileOffset: off, Data: b})
		}
		b, err := e.Marshal()
		must(t, err)
		if n := int64(len(b)); n >= l.log.length || n+2*pageSize < l.log.length {
			t.Errorf("%d GiB: %d stretches: the entry has %d bytes, the log %d", virtual/gib, len(o.bitmaps(l)), n, l.log.length)
		}
	}
}

// What naming costs: a few pages, and flushes in the order of milliseconds each.
func TestPersonaliseCost(t *testing.T) {
	r, edits := named(t, 45, 512)
	m := open(t, r.disk)
	r.disk.Start()
	must(t, m.Personalise(ctx, edits))
	t.Logf("%d edits: %d bytes, %d of them in the boot child, %d flushes", len(edits), r.disk.Written(), r.disk.Written(BootName), r.disk.Syncs())
	// 7 pages, an entry of two, a page of the bitmap, four headers; the record four times.
	if n := r.disk.Syncs(); n != 11 || r.disk.Written(BootName) != 14*pageSize || r.disk.Written() > 32*pageSize {
		t.Errorf("%d flushes, %d bytes in the boot child", n, r.disk.Written(BootName))
	}
}

// Pages that the disk does not give back as they were written are never shown.
func TestPersonaliseReadsBack(t *testing.T) {
	r, edits := named(t, 49, 512)
	m := open(t, r.disk)
	m.boot.Storage = rotten{m.boot.Storage, bootLayout(r.virtual, r.sector).anchor(edits[4].Offset)}
	if err := m.Personalise(ctx, edits); !errors.Is(err, ErrVerify) {
		t.Errorf("%v", err)
	}
	isPending(t, r, r.now, "not written")
}
