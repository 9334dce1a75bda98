package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/gates"
	"troy/internal/cli"
)

// The way of a set of test disks that no Windows saw: made, judged, noted by hand, in a table.
func TestGates(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "disks")
	result := filepath.Join(dir, gates.FileName)
	step := func(code int, says string, args ...string) {
		t.Helper()
		r := wantTroy(t, code, append([]string{"gates"}, args...)...)
		if !strings.Contains(r.out+r.errOut, says) {
			t.Errorf("troy gates %q does not say %q:\n%s%s", args, says, r.out, r.errOut)
		}
	}
	step(cli.OK, "wrote 12 test disks", "make", dir)
	step(cli.Failed, "the folder is not empty", "make", dir)
	step(cli.Failed, "want a multiple of 2097152", "make", "--size", "5M", filepath.Join(dir, "other"))
	step(cli.Failed, "there is no terminal to ask at", "judge", dir)
	if _, err := os.Stat(result); err == nil {
		t.Error("a result was written that nobody agreed to")
	}
	step(cli.OK, "0 passed, 0 failed, 19 not run", "judge", "--yes", dir)
	step(cli.OK, "W18  pass     Does a cumulative", "record", "--yes", result, "W18", "pass", "KB5068222 on [name]", "--pc", "model=OptiPlex 7010", "--pc", "edition=Professional")
	step(cli.Usage, `there is no gate "W77"`, "record", result, "W77", "pass", "x")
	step(cli.Usage, `gate W1 is "good"`, "record", result, "W1", "good", "x")
	step(cli.Usage, `a PC has no "serial"; want one of network_cards, virtual`, "record", result, "W1", "pass", "x", "--pc", "serial=1")
	step(cli.OK, "| OptiPlex 7010 | – | – | – | – | Professional | W18 | – | 20", "table", result)
	step(cli.OK, "| OptiPlex 7010 | Professional | 1 | 0 | 18 | 20", "table", "--of", "summary", result)
	step(cli.OK, "pass: OptiPlex 7010, 20", "table", "--of", "gates", result)
	step(cli.Usage, "want hardware, summary or gates", "table", "--of", "cars", result)
	// A file that is none costs its row and a line.
	bad := filepath.Join(dir, "bad.json")
	if err := os.WriteFile(bad, []byte(`{"format":1}`), 0o644); err != nil {
		t.Fatal(err)
	}
	step(cli.Failed, "bad.json: bad result file: date is", "table", bad, result)
	step(cli.Failed, "| OptiPlex 7010 |", "table", bad, result)
	step(cli.Failed, "1 of 2 files were left out", "table", bad, result)
	step(cli.Failed, "bad.json: bad result file", "judge", "--yes", dir, result, bad)
	// A damaged disk is found; the further result is added to the first.
	other := filepath.Join(dir, "other.json")
	step(cli.OK, "", "record", "--yes", other, "W7", "pass", "came up")
	if err := os.Truncate(filepath.Join(dir, "plain", "fixed.vhdx"), 1<<20); err != nil {
		t.Fatal(err)
	}
	step(cli.Check, "1 gates failed", "judge", "--yes", dir, result, other)
	b, err := os.ReadFile(result)
	if err != nil {
		t.Fatal(err)
	}
	r, err := gates.Parse(b)
	if err != nil || r.Answer("W7").Status != gates.Pass || r.Answer("W9").Status != gates.Fail || r.Answer("W18").Status != gates.Pass {
		t.Errorf("%v: %s", err, b)
	}
}
