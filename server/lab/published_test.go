package lab

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// The schema in docs/ is what editors are pointed at: it has to be the one that is checked against.
func TestPublishedSchema(t *testing.T) {
	have, err := os.ReadFile("../../docs/lab.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	want := Schema()
	if !bytes.Equal(bytes.TrimSpace(have), bytes.TrimSpace(want)) {
		t.Error("docs/lab.schema.json is old: go run ./cmds/troy lab schema > docs/lab.schema.json")
	}
}

// The lab.yaml in docs/rooms.md is one that people copy.
func TestRoomsPage(t *testing.T) {
	b, err := os.ReadFile("../../docs/rooms.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(b), "\n    format: 1\n")
	text, _, ended := strings.Cut(text, "\n\n")
	if !found || !ended {
		t.Fatal("rooms.md has no lab.yaml")
	}
	text = "format: 1\n" + strings.ReplaceAll("\n"+text, "\n    ", "\n") + "\n"
	if l, err := Parse("rooms.md", []byte(text)); err != nil || len(l.Rooms) != 2 || len(l.Hosts) != 1 {
		t.Errorf("%v\n%s", err, text)
	}
}
