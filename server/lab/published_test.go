package lab

import (
	"bytes"
	"os"
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
