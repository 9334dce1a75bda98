package main

import (
	"bytes"
	"testing"

	"troy/agent"
)

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-nonsense"}, {"word"}, {"-ip", "nonsense"}} {
		var out bytes.Buffer
		if code := run(args, &out); code != agent.ExitUsage {
			t.Errorf("run(%q) = %d, want %d; it said %s", args, code, agent.ExitUsage, out.String())
		}
	}
}
