package pcdisk

import (
	"errors"
	"strings"
	"testing"

	"troy/diskwriter/machine"
	"troy/internal/format"
	"troy/internal/testing/needs"
)

// TestDiskRecord: what a newer program noted of the disk is there again after this one has recorded
// where the files lie now; a partition that has to be emptied keeps this program away.
func TestDiskRecord(t *testing.T) {
	needs.Root(t)
	o := bareOptions()
	d, _, err := ProvisionBare(t.Context(), bareDisk(t, o.Need()), o)
	must(t, err)
	defer d.Close()
	must(t, d.Record())
	j, err := machine.OpenJournal(d.Files().Journal)
	must(t, err)
	b, err := j.Get(machine.RecordDisk)
	must(t, err)
	const kept = `"kept":{"guid":"11111111-1111-4111-8111-111111111111","label":"D"},"more":[1]}`
	head, tail, ok := strings.Cut(string(b), `}]}]`) // the last file has not moved
	b = []byte(head + `}],"new":1}]` + tail)
	moved := strings.Replace(string(b), `"lcn":`, `"lcn":1`, 1)
	if moved == string(b) || !ok {
		t.Fatalf("%s names no place", b)
	}
	must(t, j.Put(machine.RecordDisk, []byte(strings.TrimSuffix(moved, "}")+","+kept)))
	must(t, d.Record())
	if got, err := j.Get(machine.RecordDisk); err != nil || string(got) != strings.TrimSuffix(string(b), "}")+","+kept {
		t.Errorf("the record is %s, %v", got, err)
	}
	for _, bad := range []string{`"kept":{"guid":"11111111-1111-4111-8111-111111111111","clear":"boot"}}`, `"kept":{"label":"D"}}`} {
		must(t, j.Put(machine.RecordDisk, []byte(strings.TrimSuffix(string(b), "}")+","+bad)))
		var newer *format.NeedsError
		if _, err := d.Admit(); !errors.As(err, &newer) || !strings.Contains(err.Error(), `needs "clear"`) {
			t.Errorf("%s: %v", bad, err)
		}
		if err := d.Record(); !errors.As(err, &newer) {
			t.Errorf("%s is written over: %v", bad, err)
		}
	}
}
