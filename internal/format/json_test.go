package format

import (
	"errors"
	"strings"
	"testing"
	"time"
)

type inner struct {
	B int `json:"b"`
}

type document struct {
	Head
	Text  string           `json:"text,omitempty"`
	Count int              `json:"count,omitempty"`
	Time  time.Time        `json:"time,omitzero"`
	In    *inner           `json:"in,omitempty"`
	List  []inner          `json:"list,omitempty"`
	Map   map[string]inner `json:"map,omitempty"`
	Free  any              `json:"free,omitempty"`

	Unknown Unknown `json:",embed"`
}

func TestUnmarshal(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"whole", `{"format":1,"needs":["a"],"in":{"b":1},"list":[{"b":1},{}],"map":{"x":{"b":1}},"free":{"B":1,"b":2}}`, ""},
		{"space around", " {} \n", ""},
		{"unknown member", `{"new":{"Format":1},"in":{"c":1}}`, ""},
		{"names of a map keep their case", `{"map":{"B":{"b":1},"b":{"b":2}}}`, ""},
		{"nothing", ``, "EOF"},
		{"cut short", `{"format":`, "EOF"},
		{"second document", `{} {}`, "after top-level value"},
		{"text after it", `{}x`, "after top-level value"},
		{"duplicate member", `{"format":1,"format":2}`, "duplicate"},
		{"duplicate unknown member", `{"new":1,"new":2}`, "duplicate"},
		{"duplicate member deep inside an unknown one", `{"new":[{"x":1,"x":2}]}`, "duplicate"},
		{"duplicate member but for its case", `{"format":1,"Format":2}`, `member "Format" is spelled "format"`},
		{"other case", `{"Text":""}`, `member "Text" is spelled "text"`},
		{"other case of a head's member", `{"NEEDS":[]}`, `member "NEEDS" is spelled "needs"`},
		{"other case by a letter that folds", `{"li` + "\u017f" + `t":[]}`, `is spelled "list"`},
		{"other case within", `{"in":{"B":0}}`, `member "B" is spelled "b"`},
		{"other case within a list", `{"list":[{},{"B":0}]}`, `member "B" is spelled "b"`},
		{"other case within a map", `{"map":{"x":{"B":0}}}`, `member "B" is spelled "b"`},
		{"invalid UTF-8", "{\"text\":\"\xff\"}", "UTF-8"},
		{"invalid UTF-8 in an unknown member", "{\"new\":\"\xff\"}", "UTF-8"},
		{"half a surrogate", `{"text":"\ud800"}`, "surrogate"},
		{"another type", `{"format":"1"}`, "string"},
		{"fraction", `{"format":1.5}`, "1.5"},
		{"list in place of an object", `[]`, "array"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d document
			err := Unmarshal([]byte(c.text), &d)
			if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v, want %q", c.text, err, c.want)
			}
		})
	}
}

func TestExact(t *testing.T) {
	var v inner
	if err := Exact([]byte(`{"b":1}`), &v); err != nil || v.B != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	for text, want := range map[string]string{`{"b":1,"c":1}`: `"c"`, `{"B":1}`: `"B"`, `{"b":1,"b":1}`: "duplicate"} {
		if err := Exact([]byte(text), &v); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// What a program does not know is there again after it has rewritten the document.
func TestUnknownIsKept(t *testing.T) {
	var d document
	must(t, Unmarshal([]byte(`{"format":9,"needs":["new-word"],"other":{"z":1,"a":[1,2]},"count":3}`), &d))
	d.Count = 4
	b, err := Marshal(&d)
	must(t, err)
	const want = `{"format":9,"needs":["new-word"],"count":4,"other":{"z":1,"a":[1,2]}}`
	if today(b) != want {
		t.Errorf("rewritten %s, want %s", b, want)
	}
}

// today is a document as the program of today writes it: these tests are built with the tag next as
// well.
func today(b []byte) string { return strings.Replace(string(b), `,"next":true`, "", 1) }

func TestMarshal(t *testing.T) {
	b, err := Marshal(&document{Text: "a\xffb<", Map: map[string]inner{"b": {}, "a": {}}})
	must(t, err)
	const want = `{"format":0,"text":"a` + "\ufffd" + `b<","map":{"a":{"b":0},"b":{"b":0}}}`
	if today(b) != want {
		t.Errorf("got %s, want %s", b, want)
	}
	b, err = Indent(&inner{1})
	must(t, err)
	if string(b) != "{\n  \"b\": 1\n}\n" {
		t.Errorf("in lines: %q", b)
	}
}

// What was read is written and read again as the same.
func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(`{"format":1,"needs":["a"],"in":{"b":1},"list":[{"b":1}],"map":{"x":{"b":1}},"new":[1,{"x":null}]}`))
	f.Add([]byte(`{"FORMAT":1,"in":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d, again document
		if Unmarshal(b, &d) != nil {
			return
		}
		text, err := Marshal(&d)
		must(t, err)
		must(t, Unmarshal(text, &again))
		second, err := Marshal(&again)
		must(t, err)
		if string(text) != string(second) {
			t.Errorf("%q is rewritten as %q, and then as %q", b, text, second)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkUnmarshal reads a small document: each check-in and each kept machine is one.
func BenchmarkUnmarshal(b *testing.B) {
	text := []byte(`{"format":1,"text":"a","in":{"b":1},"list":[{"b":1},{"b":2}],"map":{"x":{"b":1}}}`)
	for b.Loop() {
		var d document
		if err := Unmarshal(text, &d); err != nil {
			b.Fatal(err)
		}
	}
}
