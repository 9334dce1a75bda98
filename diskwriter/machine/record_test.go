package machine

import (
	"bytes"
	"testing"

	"troy/internal/format"
	"troy/internal/guid"
)

// What a newer program has put into any object of the record is still there when this one has
// rewritten it.
func TestRecordKeepsUnknownMembers(t *testing.T) {
	more := format.Unknown(`{"new":{"x":1}}`)
	label := Label{Image: image, Version: 1, Unknown: more}
	want, err := format.Marshal(&machineRecord{Base: label, Layers: []Label{label}, Merge: &mergeRecord{Top: label, Unknown: more},
		Reinstall: &reinstallRecord{Image: image, Unknown: more}, Unknown: more,
		Identity: &identityRecord{Versions: []versionEdits{{Image: image, Version: 1, Edits: []Edit{{Data: []byte{1}, Unknown: more}}, Unknown: more}},
			Applied: &appliedRecord{Unknown: more}, Unknown: more}})
	must(t, err)
	if n := bytes.Count(want, []byte(`"new"`)); n != 10 {
		t.Fatalf("%d objects have another member: %s", n, want)
	}
	var r machineRecord
	must(t, format.Unmarshal(want, &r))
	r.relabel(Label{GUID: guid.New(), Image: "other"}, guid.New()) // of no file of the record
	r = *r.clone()
	got, err := format.Marshal(&r)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%s\nbecame\n%s", want, got)
	}
}
