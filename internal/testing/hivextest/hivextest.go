// Package hivextest reads and edits hives with the hivex tools, so that tests
// of this project's hives have a judge that was written by others.
package hivextest

import (
	"encoding/base64"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Key is a key as hivexml shows it.
type Key struct {
	Name   string  `xml:"name,attr"`
	Root   string  `xml:"root,attr"`
	Keys   []Key   `xml:"node"`
	Values []Value `xml:"value"`
}

// Value is a value as hivexml shows it.
type Value struct {
	Type     string   `xml:"type,attr"`
	Encoding string   `xml:"encoding,attr"`
	Name     string   `xml:"key,attr"`
	Text     string   `xml:"value,attr"`
	Content  string   `xml:",chardata"`
	List     []string `xml:"string"`
}

// write puts a hive into a file of the test's own folder.
func write(t testing.TB, hive []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hive")
	if err := os.WriteFile(path, hive, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Read returns the tree that hivexml sees. The test fails when hivex does not
// take the hive.
func Read(t testing.TB, hive []byte) Key {
	t.Helper()
	out, err := exec.Command("hivexml", write(t, hive)).Output()
	if err != nil {
		t.Fatalf("hivexml: %v", err)
	}
	var doc struct {
		Root Key `xml:"node"`
	}
	if err := xml.Unmarshal(out, &doc); err != nil {
		t.Fatalf("output of hivexml: %v", err)
	}
	return doc.Root
}

// Edit runs commands of hivexsh on a hive and returns the hive it commits.
func Edit(t testing.TB, hive []byte, commands ...string) []byte {
	t.Helper()
	path := write(t, hive)
	cmd := exec.Command("hivexsh", "-w", path)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\ncommit\nquit\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("hivexsh: %v\n%s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Key returns a subkey, or nil.
func (k *Key) Key(name string) *Key {
	for i := range k.Keys {
		if k.Keys[i].Name == name {
			return &k.Keys[i]
		}
	}
	return nil
}

// Data gives a value one comparable form: text as it is, lists joined by "|",
// binary data as raw bytes.
func (v Value) Data(t testing.TB) string {
	t.Helper()
	switch {
	case len(v.List) > 0:
		return strings.Join(v.List, "|")
	case v.Encoding == "base64":
		s := v.Text + strings.TrimSpace(v.Content)
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			t.Fatalf("value %q: %v", v.Name, err)
		}
		return string(b)
	}
	return v.Text + strings.TrimSpace(v.Content)
}
