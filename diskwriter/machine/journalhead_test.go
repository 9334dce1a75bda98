package machine

import (
	"errors"
	"strings"
	"testing"

	"troy/internal/format"
	"troy/internal/testing/crashdisk"
)

// putRaw writes a record as another program would, with a head of its own.
func putRaw(t *testing.T, j *Journal, r Record, content string) {
	t.Helper()
	now := j.newest(r)
	must(t, j.write(r, now.seq+1, []byte(content), 1-now.slot, now.slot))
}

// contentOf is all of a record.
func contentOf(j *Journal, r Record) string { return string(j.newest(r).content) }

// A record that needs what this program does not understand, whichever it is and whoever opens the
// disk: nothing is written, and the word is named.
func TestJournalOfANewerProgram(t *testing.T) {
	r, _ := prepared(t, 74, nil)
	for name, c := range map[string]struct{ content, want string }{
		"word":    {"{\"format\":9,\"needs\":[\"clear\"]}\nanything", `needs "clear"`},
		"old":     {"{\"format\":0}\n", "format 0"},
		"no head": {`{"base":{}}`, "has no head"},
		"damaged": {"{\"format\":1,\"format\":1}\n", "duplicate"},
	} {
		t.Run(name, func(t *testing.T) {
			d := r.disk.Fork()
			files, j := filesOf(d), openJournal(t, d)
			putRaw(t, j, recordCount-1, c.content) // one that this program does not even have
			writes := 0
			d.SetHook(func(c crashdisk.Call) (int, error) {
				if c.Kind == crashdisk.Write {
					writes++
				}
				return c.Len, nil
			})
			for what, err := range map[string]error{
				"open":      errorOf(Open(files)),
				"heal":      errorOf(OpenForHeal(files)),
				"reinstall": errorOf(Reinstall(ctx, files, &ReinstallRequest{Image: image, Version: 9, VirtualSize: r.virtual, LogicalSectorSize: r.sector})),
				"journal":   errorOf(OpenJournal(files.Journal)),
				"record":    j.Put(recordCount-1, nil),
				"raise":     j.Raise(),
			} {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: %v, want %q", what, err, c.want)
				}
			}
			if writes != 0 {
				t.Errorf("%d writes", writes)
			}
		})
	}
}

func errorOf[T any](_ T, err error) error { return err }

// A newer number, and members that are not known, are no reason to do nothing; they are there again
// after this program has written the record.
func TestJournalKeepsWhatItDoesNotKnow(t *testing.T) {
	r, u := prepared(t, 75, nil)
	j := openJournal(t, r.disk)
	was := contentOf(j, RecordMachine)
	head, body, _ := strings.Cut(was, "\n")
	newer := strings.TrimSuffix(strings.Replace(head, `"format":1`, `"format":9`, 1), "}") + `,"of-the-head":1}` + "\n" +
		strings.TrimSuffix(body, "}") + `,"of-the-record":{"b":[1],"a":2}}`
	putRaw(t, j, RecordMachine, newer)
	m := open(t, r.disk)
	must(t, m.Commit(ctx))
	must(t, mergeAll(m))
	must(t, m.Relink(ctx))
	shows(t, r.disk, u.data, "merged")
	is := contentOf(openJournal(t, r.disk), RecordMachine)
	for _, kept := range []string{`{"format":9,`, `"of-the-head":1}`, `"of-the-record":{"b":[1],"a":2}}`} {
		if !strings.Contains(is, kept) || is == newer {
			t.Errorf("%s is rewritten as %s", newer, is)
		}
	}
}

// nextRelease makes this program one with a higher number.
func nextRelease(t *testing.T) {
	t.Helper()
	was := JournalKind
	t.Cleanup(func() { JournalKind = was })
	JournalKind.Number++
}

// The format of a journal is that of the program that raised it last: until then a newer one writes
// what the older one reads, also where nothing was. Records that come later have it, too.
func TestJournalRaise(t *testing.T) {
	nextRelease(t)
	d, j := newJournal(t)
	must(t, j.Put(RecordAgent, []byte("a")))
	if want := "{\"format\":1}\na"; contentOf(j, RecordAgent) != want || JournalKind.Oldest != 1 {
		t.Errorf("a new journal has %q, want %q: the agent on the disk may be the older one", contentOf(j, RecordAgent), want)
	}
	must(t, j.Raise())
	raised := format.Head{}
	JournalKind.Stamp(&raised)
	for r, p := range map[Record]string{RecordAgent: "a", RecordTrust: "b"} {
		if p == "b" {
			must(t, j.Put(r, []byte(p)))
		}
		h, got, err := splitHead([]byte(contentOf(openJournal(t, d), r)))
		must(t, err)
		if h.Format != JournalKind.Current() || string(got) != p || len(h.Needs) != len(raised.Needs) {
			t.Errorf("record %d: %+v %q", r, h, got)
		}
	}
	d.Start()
	must(t, j.Raise())
	if n := len(d.Log()); n != 0 {
		t.Errorf("raising what is raised: %d writes", n)
	}
	var newer *format.NeedsError
	putRaw(t, j, RecordKey, "{\"format\":99,\"needs\":[\"x\"]}\n")
	if err := j.Raise(); !errors.As(err, &newer) {
		t.Errorf("raising what is not understood: %v", err)
	}
}

// A raise that is cut off leaves each record whole, with one head or the other.
func TestJournalRaiseCut(t *testing.T) {
	nextRelease(t)
	d, j := newJournal(t)
	must(t, j.Put(RecordAgent, noise(3000, 1)))
	_, body, _ := strings.Cut(contentOf(j, RecordAgent), "\n")
	putRaw(t, j, RecordTrust, "{\"format\":1}\ntrust")
	d.Start()
	must(t, j.Raise())
	heads := map[int]int{}
	for s := range d.States(crashdisk.Options{Tears: 10, Subsets: 40, Lone: true}) {
		again := openJournal(t, s.Disk)
		for r, want := range map[Record]string{RecordAgent: body, RecordTrust: "trust"} {
			h, _, err := splitHead([]byte(contentOf(again, r)))
			must(t, err)
			heads[h.Format]++
			if p, err := again.Get(r); err != nil || string(p) != want {
				t.Fatalf("%v: record %d: %d bytes, %v", s, r, len(p), err)
			}
		}
	}
	if now := JournalKind.Current(); len(heads) != 2 || heads[now-1] == 0 || heads[now] == 0 {
		t.Errorf("heads seen: %v", heads)
	}
}
