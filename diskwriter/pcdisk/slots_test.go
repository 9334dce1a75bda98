package pcdisk

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestSlots: slots are made smaller down to what past versions took, and as large as the disk
// allows.
func TestSlots(t *testing.T) {
	for _, c := range []struct {
		virtual, taken, want int64
	}{
		{80 * gib, 0, 2 * gib}, {80 * gib, gib, 2 * gib}, {64 * gib, 4 * gib, 5 * gib}, {64 * gib, 15 * gib, 16 * gib}, {64 * gib, 100 * gib, 16 * gib},
		{mib, 0, mib}, {50 * mib, 0, 2 * mib},
	} {
		if got := LeastSlot(c.virtual, c.taken); got != c.want {
			t.Errorf("virtual disk of %d, versions of %d: slots of %d, want %d", c.virtual, c.taken, got, c.want)
		}
	}
	for _, virtual := range []int64{40 * gib, 64 * gib, 128 * gib, 512 * gib} {
		o := &BareOptions{VirtualSize: virtual}
		small, full := float64(o.Smaller(0).Need())/float64(virtual), float64(o.Need())/float64(virtual)
		if small > 2.2 || full < 2.5 || full > 2.7 {
			t.Errorf("virtual disk of %d: a PC needs %.2f to %.2f times that", virtual, small, full)
		}
	}
	full := &BareOptions{VirtualSize: 64 * gib}
	small := full.Smaller(0)
	for size := small.Need(); size <= full.Need()+gib; size += 777 * mib {
		o := full.Smaller(0)
		if o.Grow(size); o.Need() > size || o.SlotBytes > 16*gib || size-o.Need() > 4*mib && o.SlotBytes < 16*gib {
			t.Errorf("disk of %d: slots of %d, %d are needed", size, o.SlotBytes, o.Need())
		}
	}
	if o := (&BareOptions{VirtualSize: 64 * gib, SlotBytes: gib}).Smaller(0); o.SlotBytes != gib {
		t.Errorf("slots of a size that was given became %d", o.SlotBytes)
	}
}

// TestSizesPage: the table of docs/needs.md gives the largest image for a disk, in whole GiB.
func TestSizesPage(t *testing.T) {
	b, err := os.ReadFile("../../docs/needs.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.Contains(cells[1], " GB ") {
			continue
		}
		rows++
		disk, err := strconv.ParseInt(strings.Fields(cells[1])[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		for i, need := range []func(o *BareOptions) int64{(*BareOptions).Need, func(o *BareOptions) int64 { return o.Smaller(0).Need() }} {
			largest := int64(0)
			for need(&BareOptions{VirtualSize: (largest + 1) * gib}) <= disk*1e9 {
				largest++
			}
			if want := fmt.Sprintf(" %d ", largest); cells[2+i] != want {
				t.Errorf("%s GB, column %d: %q, want %q", cells[1], i+1, cells[2+i], want)
			}
		}
	}
	if rows < 5 {
		t.Errorf("the page has %d rows", rows)
	}
}
