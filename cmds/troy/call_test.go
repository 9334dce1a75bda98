package main

import (
	"bytes"
	"strings"
	"testing"

	"troy/image/trust"
	"troy/internal/cli"
	"troy/internal/format"
)

// A document that a newer program wrote is printed with all that it says.
func TestJSONOfANewerProgram(t *testing.T) {
	var out bytes.Buffer
	list := &trust.Servers{Servers: []trust.Server{{Key: "<a>", Unknown: format.Unknown(`{"more":1}`)}}}
	if err := newCall(cli.New("troy", &out, &out)).JSON(list); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for want, n := range map[string]int{`"key": "<a>"`: 1, `"more": 1`: 1, "Unknown": 0, "\n}\n": 1} {
		if strings.Count(text, want) != n {
			t.Errorf("%q is there %d times, want %d: %s", want, strings.Count(text, want), n, text)
		}
	}
}
