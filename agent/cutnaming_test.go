package agent

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/internal/testing/diskfile"
	"troy/server/protocol"
)

// keep copies the disk; the function that it returns brings it back.
func (b *bench) keep() (back func()) {
	b.t.Helper()
	copyOf := filepath.Join(b.dir, "kept.img")
	info, err := os.Stat(b.disk)
	b.must(err)
	dup := func(to, from string) {
		b.must(os.RemoveAll(to))
		b.must(diskfile.Copy(to, 0, from, diskfile.Range{Length: info.Size()}))
	}
	dup(copyOf, b.disk)
	return func() { dup(b.disk, copyOf) }
}

// cutAtWrite runs the agent until write number at to boot child or journal, counted from the first
// one after the disk is open; it never happens. cut is false if there are not so many.
func (b *bench) cutAtWrite(at int) (cut bool) {
	b.t.Helper()
	a := b.agent()
	n := 0
	die := &faulty{write: func(int64, int) error {
		if n++; n >= at {
			panic(powerCut{})
		}
		return nil
	}}
	a.con.out = &onLine{word: "deploy: disk: ", then: func() {
		f := a.disk.target.Files()
		for _, s := range []machine.Storage{f.Boot.Storage, f.Journal.Storage} {
			own := *die
			under(s.(*ntfs.MappedFile), &own)
		}
	}}
	defer func() {
		switch r := recover(); r {
		case powerCut{}:
			cut = true
			a.disk.close()
		case nil:
		default:
			panic(r)
		}
	}()
	a.run(b.t.Context())
	return false
}

// A process that is cut off at any write to journal or boot child leaves the old version, the new one
// as published, or with all that is the machine's own; and the next start, without a server where the
// new one is in place, completes it.
func TestCutWhileNaming(t *testing.T) {
	every := 5 // of the writes; which ones, differs from run to run
	if os.Getenv("TROY_SOAK") == "1" {
		every = 1
	}
	b := newNamedBench(t, protocol.MergeLazy)
	b.orders.Version = 1
	b.done()
	b.stageVersion2(false)
	b.orders.Version = 2
	back := b.keep()
	seen := map[string]int{}
	for at := 1 + rand.IntN(every); ; at += every {
		back()
		if !b.cutAtWrite(at) {
			break
		}
		s := b.state()
		is := b.finds(max(s.Version, 1))
		switch {
		case s.Version == 1 && is == own17:
			seen["old"]++
		case s.Version == 2 && is == published:
			seen["unnamed"]++
		case s.Version == 2 && is == own17:
			seen["named"]++
		default:
			t.Errorf("write %d: version %d, Windows finds %+v", at, s.Version, is)
		}
		if s.Version == 2 {
			b.alone()
		} else {
			b.done()
		}
		b.is(2, own17, fmt.Sprintf("write %d, completed", at))
	}
	t.Logf("states: %v", seen)
	if seen["old"] == 0 || seen["unnamed"] == 0 || seen["named"] == 0 || !strings.Contains(b.out.String(), "restarting") {
		t.Error("something was never seen")
	}
}
