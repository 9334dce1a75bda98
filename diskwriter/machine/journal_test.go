package machine

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"troy/internal/block"
	"troy/internal/testing/crashdisk"
)

func newJournal(t *testing.T) (*crashdisk.Disk, *Journal) {
	t.Helper()
	d := crashdisk.New()
	d.Align = pageSize
	d.Create(JournalName, JournalSize, crashdisk.Garbage(1))
	return d, openJournal(t, d)
}

func openJournal(t *testing.T, d *crashdisk.Disk) *Journal {
	t.Helper()
	j, err := OpenJournal(File{d.File(JournalName), JournalSize})
	must(t, err)
	return j
}

func noise(n int, seed uint64) []byte {
	b := make([]byte, block.RoundUp(int64(n), 8))
	crashdisk.Garbage(seed)(b, 0)
	return b[:n]
}

func TestJournalKeepsRecordsApart(t *testing.T) {
	d, j := newJournal(t)
	head, err := (&recordHead{Head: j.Head()}).join(nil)
	must(t, err)
	page := pageSize - recordHeader - len(head)
	sizes := []int{0, 1, page, page + 1, 100_000, maxRecord}
	for round := range 3 {
		for r, n := range sizes {
			must(t, j.Put(Record(r), noise(n, uint64(r*10+round))))
		}
		if round == 1 {
			j = openJournal(t, d)
		}
		for r, n := range sizes {
			p, err := j.Get(Record(r))
			if err != nil || p == nil || !bytes.Equal(p, noise(n, uint64(r*10+round))) {
				t.Fatalf("round %d, record %d: %d bytes, %v", round, r, len(p), err)
			}
		}
	}
}

func TestJournalWithoutRecords(t *testing.T) {
	_, j := newJournal(t)
	for r := range Record(recordCount) {
		if p, err := j.Get(r); p != nil || err != nil {
			t.Errorf("record %d: %d bytes, %v", r, len(p), err)
		}
	}
}

func TestJournalRefuses(t *testing.T) {
	_, j := newJournal(t)
	_, negative := j.Get(-1)
	_, short := OpenJournal(File{j.f.Storage, JournalSize - 1})
	_, missing := OpenJournal(File{})
	for name, err := range map[string]error{"negative": negative, "short": short, "missing": missing,
		"number": j.Put(recordCount, nil), "size": j.Put(0, make([]byte, maxRecord+1))} {
		if !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever moment the power goes, a record is the last one or the one before.
func TestJournalCrash(t *testing.T) {
	const seed = 20
	t.Logf("seed %d", seed)
	for _, n := range []int{300, 5000, 200_000} {
		d, j := newJournal(t)
		must(t, j.Put(RecordTrust, noise(n, 1)))
		must(t, j.Put(RecordTrust, noise(n+1, 2)))
		d.Start()
		must(t, j.Put(RecordTrust, noise(n/2, 3)))
		must(t, j.Put(RecordTrust, noise(n+9, 4)))
		seen := map[uint64]int{}
		for s := range d.States(crashdisk.Options{Tears: 40, Subsets: 200, Lone: true, Seed: seed}) {
			p, err := openJournal(t, s.Disk).Get(RecordTrust)
			must(t, err)
			version := uint64(0)
			for v, size := range map[uint64]int{2: n + 1, 3: n / 2, 4: n + 9} {
				if bytes.Equal(p, noise(size, v)) {
					version = v
				}
			}
			if seen[version]++; version == 0 || s.Op >= 2 && version == 2 {
				t.Fatalf("%v: version %d, %d bytes", s, version, len(p))
			}
			again := openJournal(t, s.Disk)
			must(t, again.Put(RecordTrust, []byte("next")))
			if p, err := openJournal(t, s.Disk).Get(RecordTrust); err != nil || string(p) != "next" {
				t.Fatalf("%v: %q %v after the next record", s, p, err)
			}
		}
		if seen[2] == 0 || seen[3] == 0 || seen[4] == 0 {
			t.Errorf("%d bytes: versions seen %v", n, seen)
		}
	}
}

// A failed Put leaves it open which slot is the older one: the next Put has to look.
func TestJournalAfterFailedPut(t *testing.T) {
	for n := 1; n <= 16; n++ {
		for _, f := range []crashdisk.Fault{crashdisk.IOError, crashdisk.ShortWrite, crashdisk.SyncError} {
			d, j := newJournal(t)
			must(t, j.Put(RecordAgent, noise(9000, 1)))
			must(t, j.Put(RecordAgent, noise(9000, 2)))
			d.Start()
			hook, hit := crashdisk.FailAt(n, f, false)
			read := false
			d.SetHook(func(c crashdisk.Call) (int, error) {
				read = read || c.N == n && c.Kind == crashdisk.Read
				return hook(c)
			})
			err := j.Put(RecordAgent, noise(9000, 3))
			d.SetHook(nil)
			if want := hit() && !read; want != (err != nil) { // a read is tried again
				t.Fatalf("%v at call %d: hit %v, %v", f, n, hit(), err)
			}
			must(t, j.Put(RecordAgent, noise(9000, 4)))
			for s := range d.States(crashdisk.Options{Tears: 10, Subsets: 60, Lone: true}) {
				p, err := openJournal(t, s.Disk).Get(RecordAgent)
				if err != nil || !bytes.Equal(p, noise(9000, 2)) && !bytes.Equal(p, noise(9000, 3)) && !bytes.Equal(p, noise(9000, 4)) {
					t.Fatalf("%v at call %d, then %v: neither the record nor one of the last two, %v", f, n, s, err)
				}
			}
			if p, err := openJournal(t, d).Get(RecordAgent); err != nil || !bytes.Equal(p, noise(9000, 4)) {
				t.Errorf("%v at call %d: %v", f, n, err)
			}
		}
	}
}

// No slot that rots brings an older record back, and mend makes it whole again.
func TestJournalDamage(t *testing.T) {
	rnd := rand.New(rand.NewPCG(21, 0))
	for i := range 200 {
		d, j := newJournal(t)
		must(t, j.Put(RecordDisk, noise(6000, 1)))
		must(t, j.Put(RecordDisk, noise(6000, 2)))
		for _, slot := range []int{i % 2, 1 - i%2} {
			page := make([]byte, pageSize)
			off := slotOffset(RecordDisk, slot) + rnd.Int64N(2)*pageSize
			must(t, block.ReadFull(j.f, page, off))
			page[rnd.IntN(1900)] ^= 1 << rnd.IntN(8) // the second page holds so many bytes of the record
			must(t, writeFull(j.f, page, off))
			if p, err := openJournal(t, d).Get(RecordDisk); err != nil || !bytes.Equal(p, noise(6000, 2)) {
				t.Fatalf("seed 21: %d bytes, %v", len(p), err)
			}
			must(t, openJournal(t, d).mend())
		}
	}
}

func TestJournalConcurrently(t *testing.T) {
	d, j := newJournal(t)
	var wg sync.WaitGroup
	for r := range Record(recordCount) {
		wg.Go(func() {
			for i := range 20 {
				if err := j.Put(r, []byte(strings.Repeat("x", i+1))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for r := range Record(recordCount) {
		if p, err := openJournal(t, d).Get(r); err != nil || len(p) != 20 {
			t.Errorf("record %d: %q %v", r, p, err)
		}
	}
}

// FuzzJournal reads arbitrary slots: no panic, nothing but a whole record comes back.
func FuzzJournal(f *testing.F) {
	whole := marshalRecord(RecordMachine, 5, append([]byte("{\"format\":1}\n"), noise(5000, 3)...))
	f.Add(whole)
	f.Add(marshalRecord(RecordMachine, 5, []byte("{\"format\":1,\"needs\":[\"more\"]}\n{}")))
	f.Add(marshalRecord(RecordMachine, 5, []byte("{}")))
	f.Add(whole[:pageSize])
	f.Add([]byte("troyjrn1"))
	f.Fuzz(func(t *testing.T, p []byte) {
		d, j := newJournal(t)
		if len(p) > recordSlot {
			return
		}
		p = append(p, make([]byte, block.RoundUp(int64(len(p)), pageSize)-int64(len(p)))...)
		must(t, writeFull(j.f, p, 0))
		again, err := OpenJournal(File{d.File(JournalName), JournalSize})
		if err != nil { // a whole record that is not understood
			if j.Put(RecordMachine, nil) == nil {
				t.Fatalf("it is overwritten, although %v", err)
			}
			return
		}
		got, err := again.Get(RecordMachine)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(p, got) {
			t.Fatal("a record came back that was never written")
		}
		if _, err := loadRecord(j); err != nil {
			t.Fatal(err)
		}
	})
}
