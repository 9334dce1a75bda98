package lab

import (
	_ "embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"troy/internal/durable"
)

// FileName is how the file is called, beside the content of the store if nothing else was said.
const FileName = "lab.yaml"

//go:embed first.yaml
var first string

// First returns the lab.yaml of a new store: one room whose machines may be worked on at any time.
func First(zone Zone) []byte {
	return []byte(strings.Replace(first, "zone: UTC", "zone: "+string(zone), 1))
}

// WriteFirst writes First with the time zone of this machine to a file that must not exist yet:
// fs.ErrExist, also where the folder may not be written to.
func WriteFirst(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	f, err := durable.Create(path, 0o644)
	if err != nil {
		return err
	}
	defer f.Abandon()
	if _, err := f.Write(First(localZone())); err != nil {
		return err
	}
	return f.CommitNew()
}

// localZone is the time zone that this machine is set to; UTC if that cannot be told.
func localZone() Zone {
	names := []string{os.Getenv("TZ")}
	if target, err := filepath.EvalSymlinks("/etc/localtime"); err == nil {
		_, name, _ := strings.Cut(target, "/zoneinfo/")
		names = append(names, name)
	}
	if b, err := os.ReadFile("/etc/timezone"); err == nil {
		names = append(names, strings.TrimSpace(string(b)))
	}
	for _, name := range names {
		var z Zone
		if z.parse(name) == nil {
			return z
		}
	}
	return "UTC"
}
