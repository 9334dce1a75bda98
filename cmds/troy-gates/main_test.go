package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/gates"
	"troy/internal/cli"
)

// disks is a folder whose manifest names one disk. Nothing here comes as far as to look at it.
func disks(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	const manifest = `{"format":1,"disks":[{"gate":"W9","about":"a disk","files":[{"path":"a.vhdx","size":0,` +
		`"sha256":"0000000000000000000000000000000000000000000000000000000000000000","data_write_guid":"00000000-0000-0000-0000-000000000000"}],` +
		`"size":4096,"holds":[],"sha256":"0000000000000000000000000000000000000000000000000000000000000000",` +
		`"after":"0000000000000000000000000000000000000000000000000000000000000000"}]}`
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What a system without the API gets: all is shown and said to be not run, and the file is written
// when the answer was yes.
func TestRun(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		args         []string
		code         int
		says         []string
		file         bool
	}{
		{"yes", "yes\n", nil, cli.OK, []string{"W9   not run  Is an anchored", "- virtual disks cannot be attached here: virtdisk.dll is part of Windows", "0 passed, 0 failed, 19 not run", "yes or no"}, true},
		{"no", "no\n", nil, cli.Failed, []string{"19 not run", "the answer was not yes: the result was not written"}, false},
		{"nobody", "", nil, cli.Failed, []string{"there is nobody to ask"}, false},
		{"not asked", "", []string{"--yes"}, cli.OK, []string{"19 not run", "wrote "}, true},
		{"help", "", []string{"--help"}, cli.OK, []string{"usage: troy-gates [--yes] DIR"}, false},
		{"unknown flag", "", []string{"--fast"}, cli.Usage, []string{"flag provided but not defined"}, false},
		{"two folders", "", []string{"a"}, cli.Usage, []string{"want one folder of test disks"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := disks(t)
			var out bytes.Buffer
			if code := run(t.Context(), append(c.args, dir), strings.NewReader(c.answer), &out, &out); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, want := range c.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, out.String())
				}
			}
			b, err := os.ReadFile(filepath.Join(dir, gates.FileName))
			if (err == nil) != c.file {
				t.Fatalf("the file: %v, want it: %t", err, c.file)
			}
			if !c.file {
				return
			}
			if r, err := gates.Parse(b); err != nil || r.Count(gates.NotRun) != len(gates.All()) {
				t.Errorf("%v: %s", err, b)
			}
		})
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"up"}, cli.Failed, "inside the Windows of a trial"},
		{[]string{"up", "--install"}, cli.Failed, "inside the Windows of a trial"},
		{[]string{"up", "--service"}, cli.Failed, "inside the Windows of a trial"},
		{[]string{"up", "--install", "--service"}, cli.Usage, "one flag at most"},
		{[]string{"up", "disks"}, cli.Usage, "want no folder"},
		{[]string{"up", "--fast"}, cli.Usage, "flag provided but not defined"},
	} {
		var out bytes.Buffer
		if code := run(t.Context(), c.args, nil, &out, &out); code != c.code || !strings.Contains(out.String(), c.says) {
			t.Errorf("%q: exit code %d, it says %s", c.args, code, out.String())
		}
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{t.TempDir()}, nil, &out, &out); code != cli.Failed ||
		!strings.Contains(out.String(), "nothing was tried; 'troy gates make' makes such a folder") || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("a folder without manifest: exit code %d, %s", code, out.String())
	}
}
