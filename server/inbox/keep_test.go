package inbox_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/image"
	"troy/image/capture"
	"troy/server/inbox"
)

// TestFull: a bound and a full disk are 507, keep what is there, and end when there is room.
func TestFull(t *testing.T) {
	golden := newMachine(t)
	dir := filepath.Join(t.TempDir(), "inbox")
	const second = "22222222-2222-4333-8444-555555555555"
	for name, o := range map[string]*inbox.Options{
		"bound": {Dir: dir, Spare: -1, Most: 3 * image.PageSize}, "disk": {Dir: dir, Spare: 1 << 60},
	} {
		must(t, os.RemoveAll(dir))
		roomy, _ := serve(t, &inbox.Options{Dir: dir, Spare: -1}, orders{golden.key: "golden"})
		tight, _ := serve(t, o, orders{golden.key: "golden"})
		put := func(url, id string, region int64) (int, string) {
			return send(t, golden.Client, "PUT", fmt.Sprintf("%s%s%s/%d", url, capture.Prefix, id, region), encode(t, onePage(region, byte(region+1))))
		}
		for _, id := range []string{id, second} {
			if code, said := send(t, golden.Client, "PUT", roomy+capture.Prefix+id, []byte(about)); code != 200 {
				t.Fatal(said)
			}
		}
		for region := range int64(2) {
			if code, said := put(roomy, id, region); code != 200 {
				t.Fatal(said)
			}
		}
		if code, said := put(roomy, second, 0); code != 200 {
			t.Fatal(said)
		}
		if code, said := put(tight, id, 2); code != 507 || !strings.Contains(said, "no room for more of the capture: ") {
			t.Errorf("%s: %d %s", name, code, said)
		}
		if code, said := put(tight, id, 1); code != 200 { // it is there
			t.Errorf("%s: %d %s", name, code, said)
		}
		must(t, inbox.Remove(dir, second))
		if code, said := put(tight, id, 2); (code == 200) != (name == "bound") {
			t.Errorf("%s: after one was removed: %d %s", name, code, said)
		}
	}
}

// TestReplaced: pieces that are replaced again and again do not fill the disk with the log.
func TestReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "inbox")
	s := inbox.New(&inbox.Options{Dir: dir, Spare: -1})
	defer s.Close()
	var session capture.About
	must(t, capture.AboutKind.Read([]byte(about), &session))
	key := strings.Repeat("1", 64)
	must(t, s.Begin(id, key, "golden", &session))
	for i := range 200 {
		p := &capture.Piece{Masks: capture.Masks{Region: 1}}
		p.Unused.Set(i)
		switch err := s.Put(id, key, p, p.Sum()); {
		case errors.Is(err, inbox.ErrFull) && i > 20:
			return
		case err != nil:
			t.Fatal(err)
		}
	}
	t.Error("there is no end")
}

// TestDamaged: what a disk lost is found before it is published, and a log whose end is torn has
// what is before it.
func TestDamaged(t *testing.T) {
	golden := newMachine(t)
	dir := filepath.Join(t.TempDir(), "inbox")
	s := inbox.New(&inbox.Options{Dir: dir, Spare: -1})
	defer s.Close()
	var session capture.About
	must(t, capture.AboutKind.Read([]byte(about), &session))
	must(t, s.Begin(id, golden.key, "golden", &session))
	for r := range int64(3) {
		p := onePage(r, byte(r))
		must(t, s.Put(id, golden.key, p, p.Sum()))
	}
	if _, err := inbox.Open(dir, id); !errors.Is(err, inbox.ErrUnfinished) {
		t.Errorf("an unfinished one opens: %v", err)
	}
	log := filepath.Join(dir, id, "log")
	must(t, os.Truncate(log, 128*2+50))
	again := inbox.New(&inbox.Options{Dir: dir, Spare: -1})
	defer again.Close()
	if h, err := again.Held(id, golden.key); err != nil || len(h.Pieces) != 2 {
		t.Fatalf("of a torn log %+v, %v", h, err)
	}
	p := onePage(2, 2)
	must(t, again.Put(id, golden.key, p, p.Sum()))
	h, err := again.Held(id, golden.key)
	must(t, err)
	totals := h.Totals()
	totals.Data = 3
	must(t, again.Finish(id, golden.key, &totals))
	f, err := inbox.Open(dir, id)
	must(t, err)
	defer f.Close()
	must(t, f.Verify(t.Context(), nil))
	pages, err := os.OpenFile(filepath.Join(dir, id, "pages"), os.O_WRONLY, 0)
	must(t, err)
	_, err = pages.WriteAt([]byte{77}, image.RegionSize+7*image.PageSize+100)
	must(t, errors.Join(err, pages.Close()))
	if err := f.Verify(t.Context(), nil); !errors.Is(err, inbox.ErrDamaged) || !strings.Contains(err.Error(), "region 1") {
		t.Errorf("a changed page: %v", err)
	}
	b, err := os.ReadFile(log)
	must(t, err)
	b[128+40] ^= 1
	must(t, os.WriteFile(log, b, 0o600))
	if _, err := inbox.Open(dir, id); !errors.Is(err, inbox.ErrUnfinished) {
		t.Errorf("a damaged log: %v", err)
	}
}

// TestStale: a newer capture of the same machine makes the older one stale, not one of another.
func TestStale(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "inbox")
	clock := time.Date(2031, 3, 1, 8, 0, 0, 0, time.UTC)
	s := inbox.New(&inbox.Options{Dir: dir, Spare: -1, Now: func() time.Time { clock = clock.Add(time.Second); return clock }})
	defer s.Close()
	var session capture.About
	must(t, capture.AboutKind.Read([]byte(about), &session))
	keys := []string{strings.Repeat("1", 64), strings.Repeat("2", 64)}
	for i, key := range []string{keys[0], keys[1], keys[0]} {
		must(t, s.Begin(fmt.Sprintf("%08d-2222-4333-8444-555555555555", i), key, "pc", &session))
	}
	list, err := inbox.List(dir)
	must(t, err)
	stale := map[string]bool{}
	for _, info := range list {
		stale[info.ID[:8]] = info.Stale
	}
	if len(list) != 3 || !stale["00000000"] || stale["00000001"] || stale["00000002"] {
		t.Errorf("stale %v", stale)
	}
	if none, err := inbox.List(filepath.Join(dir, "none")); err != nil || len(none) > 0 {
		t.Errorf("a folder that is not there: %v, %v", none, err)
	}
}
