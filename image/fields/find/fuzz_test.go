package find

import (
	"bytes"
	"encoding/xml"
	"testing"

	"troy/image"
	"troy/image/fields"
)

// FuzzFields: whatever stands on the disk, what is found fits a manifest, and is filled or refused.
func FuzzFields(f *testing.F) {
	v := newVolume(f, 2*mib, 4096).put(map[string][]byte{hiveFile: hive(f, windows()), ownFile: padded("{}", 3000), setFile: padded(answersText, 9000)})
	disk := v.bytes()
	list, _ := find(f, disk)
	if len(list) < 10 {
		f.Fatalf("only %d fields", len(list))
	}
	for i := range list {
		for _, r := range list[i].Pieces() {
			f.Add(uint32(r.Offset), byte(0xff))
			f.Add(uint32(r.Offset-4), byte(0x10)) // the size of a cell
		}
	}
	f.Fuzz(func(t *testing.T, at uint32, flip byte) {
		d := bytes.Clone(disk)
		d[int(at)%len(d)] ^= flip
		list, _ := find(t, d)
		edits, err := fields.Fill(list, wanted(), bytes.NewReader(d))
		if err == nil && len(edits) == 0 {
			t.Fatal("nothing is filled")
		}
	})
}

// FuzzAnswers: the slots of an answer file lie in it one after the other, and when they are filled
// the file has the same slots.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(answersText))
	f.Add([]byte(`<u><s pass="specialize"><c name="a"><x></x><y>&amp;</y><y>1</y></c></s></u>`))
	f.Add([]byte("\ufeff" + `<u><s pass="oobeSystem"><c name="a" processorArchitecture="x86"><x><![CDATA[1]]></x><z>1<w/>2</z></c></s></u>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		used, slots, err := answers(append(b, ' '))
		if err != nil {
			return
		}
		var out []byte
		at := int64(0)
		for _, s := range slots {
			if s.Offset < at || s.Length < 0 || s.Offset+s.Length > used {
				t.Fatalf("slot %+v after %d of %d", s, at, used)
			}
			out = append(append(out, b[at:s.Offset]...), "value"...)
			at = s.Offset + s.Length
		}
		out = append(append(out, b[at:used]...), ' ')
		_, again, err := answers(out)
		if err != nil || len(again) != len(slots) {
			t.Fatalf("%q was filled as %q: slots %+v and %+v, %v", b, out, slots, again, err)
		}
		for i, s := range again {
			if s.Name != slots[i].Name || string(out[s.Offset:s.Offset+s.Length]) != "value" {
				t.Fatalf("%q was filled as %q: slots %+v and %+v", b, out, slots, again)
			}
		}
	})
}

// TestSlots: which elements of an answer file can be filled.
func TestSlots(t *testing.T) {
	text := `<?xml version="1.0"?><unattend><settings pass="specialize"><component name="A" processorArchitecture="amd64">` +
		`<Plain>one</Plain><Empty></Empty><Closed/><Outer><Inner>two</Inner></Outer><Mixed>a<B>c</B>d</Mixed><Twice>1</Twice><Twice>2</Twice>` +
		`<Note><!-- x -->3</Note><Data><![CDATA[4]]></Data></component><component name="C"><RunSynchronous><RunSynchronousCommand><Order>1</Order><Path>x.exe</Path></RunSynchronousCommand></RunSynchronous>` +
		`<FirstLogonCommands><SynchronousCommand><CommandLine>x.exe</CommandLine></SynchronousCommand></FirstLogonCommands></component><component name="A" processorArchitecture="x86"><Plain>5</Plain></component></settings>` +
		`<settings pass="windowsPE"><component name="A"><Plain>6</Plain></component></settings>` +
		`<settings pass="oobeSystem"><component name="B"><Plain>seven</Plain></component></settings></unattend>`
	used, slots, err := answers(padded(text, len(text)+10))
	if err != nil || used != int64(len(text)) {
		t.Fatal(used, err)
	}
	want := map[string]string{"specialize/A/Plain": "one", "specialize/A/Empty": "", "specialize/A/Outer/Inner": "two", "specialize/A/Mixed/B": "c",
		"specialize/A:x86/Plain": "5", "oobeSystem/B/Plain": "seven"}
	for _, s := range slots {
		if is, ok := want[s.Name]; !ok || is != text[s.Offset:s.Offset+s.Length] {
			t.Errorf("slot %+v: %q, want %q (%v)", s, text[s.Offset:s.Offset+s.Length], is, ok)
		}
		delete(want, s.Name)
	}
	if len(want) > 0 {
		t.Errorf("no slots for %v", want)
	}
	if err := xml.Unmarshal([]byte(text), new(struct{})); err != nil {
		t.Error(err)
	}
	many := `<u><s pass="specialize"><c name="A">`
	for i := range 40 {
		many += "<e" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + "></e" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + ">"
	}
	if _, slots, err := answers([]byte(many + "</c></s></u> ")); err != nil || len(slots) != image.MaxSlots {
		t.Errorf("%d slots of 40 elements, %v", len(slots), err)
	}
}
