package agent

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"troy/agent/decide"
	"troy/chainload"
	"troy/chainload/bootfiles"
	"troy/chainload/selfboot"
	"troy/internal/digest"
	"troy/internal/format"
	"troy/server/protocol"
	"troy/vhdx"
)

// fullMemo is one in which every part says something.
func fullMemo() memo {
	return memo{
		Memo: decide.Memo{
			Health: chainload.Health{Version: "lab@2", Starts: 2, Method: chainload.ByGRUB, Times: []time.Time{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, Bad: []string{"lab@1"}},
			Reset:  protocol.ResetBoot, Marks: decide.Marks{Golden: true},
		},
		Session:   vhdx.GUID{1, 2, 3},
		Clock:     keptClock{Offset: int64(-90 * time.Second), Answered: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		Agent:     selfboot.State{Trial: &selfboot.Trial{Version: "2", Copy: selfboot.B, Entry: 7, From: "1"}, Failed: []selfboot.Failure{{Version: "0"}, {Version: "1", Protocol: 6}}},
		Held:      map[string]int{"lab": 2},
		BootFiles: bootfiles.Note{Version: "lab@2", Firmware: digest.Sum{1}, ESP: digest.Sum{2}, Brought: "lab@1", Manager: digest.Sum{3}},
	}
}

func TestParseMemo(t *testing.T) {
	full := fullMemo()
	b, err := format.Marshal(&full)
	if err != nil {
		t.Fatal(err)
	}
	change := func(from, to string) string {
		if strings.Count(string(b), from) != 1 {
			t.Fatalf("%s does not have %s once", b, from)
		}
		return strings.Replace(string(b), from, to, 1)
	}
	noHealth, noAgent, noBoot, clamped := full, full, full, full
	noHealth.Health, noAgent.Agent, noBoot.BootFiles, clamped.Health.Starts = chainload.Health{}, selfboot.State{}, bootfiles.Note{}, 1000
	for name, c := range map[string]struct {
		text string
		want memo
		err  string // in the error; "" = none
	}{
		"none":                {"", memo{}, ""},
		"full":                {string(b), full, ""},
		"empty":               {"{}", memo{}, ""},
		"parts are null":      {`{"format":1,"health":null,"agent":null}`, memo{Unknown: format.Unknown(`{"format":1}`)}, ""},
		"no JSON":             {"x", memo{}, "invalid character"},
		"twice":               {change(`"starts":2`, `"starts":2,"starts":2`), memo{}, "duplicate"},
		"health not readable": {change(`"starts":2`, `"starts":"2"`), noHealth, "record of health"},
		"health out of range": {change(`"starts":2`, `"starts":9999`), clamped, ""},
		"boot files":          {change(`"manager":"03`, `"manager":"x3`), noBoot, "bootfiles: note"},
		"trial of no copy":    {change(`"copy":"b"`, `"copy":"c"`), noAgent, `trial of copy "c"`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseMemo([]byte(c.text))
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("parseMemo(%s) = %+v, want %+v", c.text, got, c.want)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("parseMemo(%s): error %v, want a line with %q", c.text, err, c.err)
			}
		})
	}
}

// TestMemoKeepsWhatItDoesNotKnow: an older agent that runs in between loses nothing of what a newer
// one remembers.
func TestMemoKeepsWhatItDoesNotKnow(t *testing.T) {
	full := fullMemo()
	b, err := format.Marshal(&full)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, part := range []string{`"health":{`, `"marks":{`, `"agent":{`, `"boot_files":{`, `{`} {
		if !strings.Contains(text, part) {
			t.Fatalf("%s has no %s", text, part)
		}
		text = strings.Replace(text, part, part+`"more":{"b":1,"a":[]},`, 1)
	}
	m, err := parseMemo([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	out, err := format.Marshal(&m)
	if err != nil || strings.Count(string(out), `"more":{"b":1,"a":[]}`) != 5 {
		t.Errorf("%s is rewritten as %s, %v", text, out, err)
	}
}

// FuzzParseMemo: what the journal holds never stops the agent, and what it read it can write and
// read again.
func FuzzParseMemo(f *testing.F) {
	full := fullMemo()
	seed, err := format.Marshal(&full)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMemo(b)
		chainload.Judge(m.Health, chainload.Seen{Version: "1"})
		m.Agent.Judge(&selfboot.Status{Running: selfboot.A})
		if err != nil {
			return
		}
		out, err := format.Marshal(&m)
		if err != nil {
			t.Fatalf("%s was read as %+v, which cannot be written: %v", b, m, err)
		}
		if _, err := parseMemo(out); err != nil {
			t.Fatalf("%s was read and written as %s, which cannot be read: %v", b, out, err)
		}
	})
}
