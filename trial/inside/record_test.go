package inside

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"troy/gates"
)

// memory is a file of one size.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	if n := copy(p, m[min(off, int64(len(m))):]); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, io.ErrShortWrite
	}
	return copy(m[off:], p), nil
}

func (m memory) Sync() error { return nil }

func sample(order int) *Record {
	return &Record{Order: order, Phase: Up, Time: "2026-11-30T10:00:00Z", Name: "PC-01", Ballast: Stamps{Blocks: 3, Low: 1, High: 2},
		Did: []Action{Fill, Retrim}, Failed: []string{"retrim: <refused> & more"}, Events: []string{"disk 153 (warning): größer"},
		Facts:   Facts{HostLetter: "none", PageFiles: []string{"host"}, Mailbox: "opened", Chain: []string{"layer-b.vhdx"}, ChainTried: 4},
		PC:      gates.PC{Maker: "QEMU", Cards: []string{"a", "b"}, Windows: gates.Windows{Edition: "Professional", Build: "26100.1742"}},
		NotTold: "refused"}
}

// Records come back as they were put, each new one in the place of the one Slots before it.
func TestRecords(t *testing.T) {
	file := make(memory, FileSize)
	if all, err := All(file); len(all) != 0 || err != nil {
		t.Fatalf("an empty file: %v, %v", all, err)
	}
	for order := 1; order <= Slots+2; order++ {
		if err := Put(file, sample(order)); err != nil {
			t.Fatal(err)
		}
		if got, err := Of(file, order); err != nil || !reflect.DeepEqual(got, sample(order)) {
			t.Fatalf("order %d: %+v, %v", order, got, err)
		}
	}
	all, err := All(file)
	if err != nil || len(all) != Slots || all[0].Order != 3 || all[Slots-1].Order != Slots+2 {
		t.Errorf("%d records, %v", len(all), err)
	}
	if r, err := Of(file, 2); r != nil || err != nil {
		t.Errorf("an order whose slot has another: %+v, %v", r, err)
	}
	if err := Put(file, sample(0)); !errors.Is(err, ErrRecord) {
		t.Errorf("order 0: %v", err)
	}
	if err := Put(file[:SlotSize], sample(1)); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a file that is too short: %v", err)
	}
}

// Whatever is done to one slot, the others stay; the slot is left out, or is what it was.
func TestDamage(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	whole := make(memory, FileSize)
	for order := 1; order <= 5; order++ {
		if err := Put(whole, sample(order)); err != nil {
			t.Fatal(err)
		}
	}
	torn := 0
	for range 300 {
		file := slices.Clone(whole)
		slot := file[3*SlotSize:][:SlotSize]
		switch from := 1 + r.IntN(SlotSize-1); r.IntN(3) {
		case 0: // a write that was cut off, over zeros
			clear(slot[from:])
		case 1: // over an older record
			old := make(memory, FileSize)
			if err := Put(old, &Record{Order: 3, Failed: []string{strings.Repeat("x", 900)}}); err != nil {
				t.Fatal(err)
			}
			copy(slot[from:], old[3*SlotSize+from:])
		case 2:
			slot[from] ^= byte(1 + r.IntN(255))
		}
		all, err := All(file)
		if err != nil && !errors.Is(err, ErrTorn) {
			t.Fatalf("%v", err)
		}
		if err != nil {
			torn++
		}
		for _, got := range all {
			old := got.Order == 3 && len(got.Failed) == 1 && strings.HasPrefix(got.Failed[0], "xxx")
			if !old && !reflect.DeepEqual(&got, sample(got.Order)) {
				t.Fatalf("a damaged record is believed: %+v", got)
			}
		}
		if n := len(all); n != 5 && (n != 4 || err == nil) {
			t.Fatalf("%d records, %v", n, err)
		}
	}
	if torn == 0 {
		t.Error("no damage was found at all")
	}
	if _, err := Of(make(memory, SlotSize), 1); err != nil {
		t.Errorf("a file that is too short holds nothing: %v", err)
	}
}

// A sound slot that holds no record is told.
func TestNoRecord(t *testing.T) {
	file := make(memory, FileSize)
	copy(file, "TROY")
	copy(file[slotHeader:], "[1]")
	binary.LittleEndian.PutUint32(file[8:], 3)
	binary.LittleEndian.PutUint32(file[4:], crc32.Checksum(file[8:SlotSize], castagnoli))
	if all, err := All(file); len(all) != 0 || !errors.Is(err, ErrRecord) || !strings.Contains(err.Error(), "slot 0") {
		t.Errorf("%v, %v", all, err)
	}
}

// A record that is too long is shortened until it fits, and what fits is left as it is.
func TestFit(t *testing.T) {
	words := []string{"x", "<&>", "größe ", "\u2028", "日本語", "\x01"}
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		text := func() string { return strings.Repeat(words[r.IntN(len(words))], r.IntN(120)) }
		list := func(n int) (all []string) {
			for range r.IntN(n) {
				all = append(all, text())
			}
			return all
		}
		want := sample(1 + r.IntN(1e6))
		want.Name, want.NotTold, want.Failed, want.Events = text(), text(), list(100), list(100)
		want.PC.Maker, want.PC.Firmware, want.PC.Cards, want.Facts.Mailbox = text(), text(), list(40), text()
		plain, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		file := make(memory, FileSize)
		if err := Put(file, want); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		got, err := Of(file, want.Order)
		if err != nil || got == nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if len(plain) <= room && got.Name != want.Name {
			t.Errorf("seed %d: %d bytes were shortened", seed, len(plain))
		}
		if got.Time != want.Time || got.Phase != want.Phase || !slices.Equal(got.Did, want.Did) || got.Ballast != want.Ballast || !utf8.ValidString(got.Name) {
			t.Errorf("seed %d: %+v", seed, got)
		}
	}
}

func FuzzRecords(f *testing.F) {
	for _, order := range []int{1, 63, 64} {
		file := make(memory, FileSize)
		if err := Put(file, sample(order)); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(file[order%Slots*SlotSize:][:SlotSize]), true)
		f.Add([]byte(file[order%Slots*SlotSize:][:SlotSize/8]), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, sum bool) {
		file := make(memory, FileSize)
		copy(file, b)
		if sum { // so that what is inside is reached
			binary.LittleEndian.PutUint32(file[4:], crc32.Checksum(file[8:SlotSize], castagnoli))
		}
		all, err := All(file)
		if err != nil && !errors.Is(err, ErrTorn) && !errors.Is(err, ErrRecord) {
			t.Errorf("the error has no class: %v", err)
		}
		if !slices.IsSortedFunc(all, func(a, b Record) int { return a.Order - b.Order }) {
			t.Error("the records are not sorted")
		}
		for i := range all {
			again := make(memory, FileSize)
			if all[i].Order < 1 {
				t.Fatalf("order %d", all[i].Order)
			}
			if err := Put(again, &all[i]); err != nil {
				t.Fatalf("what was read cannot be put: %v", err)
			}
		}
	})
}

func TestOrders(t *testing.T) {
	want := &Order{Number: 7, Do: []Action{Fill, Stuff, Disks, Retrim, Stay}, Stamp: 1 << 31, BallastMiB: 64, Tell: "http://10.0.2.2:8080/trial"}
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, rest := range []int{0, 1, 2048} {
		if got, err := ParseOrder(append(bytes.Clone(b), make([]byte, rest)...)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if !want.Wants(Stay) || (&Order{}).Wants(Stay) {
		t.Error("Wants")
	}
	for name, text := range map[string]string{
		"empty": "", "no JSON": "number 1", "a list": "[1]", "no number": `{"ballast_mib":1}`, "no ballast": `{"number":1}`,
		"negative": `{"number":-1,"ballast_mib":1}`, "huge": `{"number":1,"ballast_mib":1025}`, "unknown": `{"number":1,"ballast_mib":1,"do":["format"]}`,
		"too long": `{"number":1,"ballast_mib":1,"tell":"` + strings.Repeat("x", maxOrder) + `"}`, "two": `{"number":1,"ballast_mib":1}{}`,
	} {
		if o, err := ParseOrder([]byte(text)); !errors.Is(err, ErrOrder) || o != nil {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
	if b, err := (&Order{Number: 1, BallastMiB: 1, Do: []Action{"format"}}).Encode(); !errors.Is(err, ErrOrder) {
		t.Errorf("an unknown action is encoded: %s, %v", b, err)
	}
}

func FuzzOrder(f *testing.F) {
	f.Add([]byte(`{"number":1,"ballast_mib":64,"do":["fill","stay"],"stamp":2,"tell":"http://10.0.2.2/"}`))
	f.Add([]byte("{\"number\":1,\"ballast_mib\":1024}\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOrder(b)
		if err != nil {
			if !errors.Is(err, ErrOrder) {
				t.Errorf("the error has no class: %v", err)
			}
			return
		}
		again, err := o.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if len(again) > maxOrder {
			return // what JSON escapes is longer
		}
		got, err := ParseOrder(again)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := got.Encode(); err != nil || !bytes.Equal(second, again) {
			t.Errorf("%s became %s, %v", again, second, err)
		}
	})
}
