// Package vhdxfile makes VHDX files as other programs leave them, byte by byte as MS-VHDX says and
// without package vhdx, for tests that have no samples. Each file has name, kind, sizes, numbers of
// blocks, regions and locator keys of the sample of that name (see package samples); the content is
// another one, of which it knows the sum.
package vhdxfile

import (
	"crypto/md5"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"troy/internal/testing/samples"
)

// Names returns the names of all files.
func Names() (names []string) {
	for _, d := range disks() {
		names = append(names, d.name)
	}
	return names
}

// Make writes the file of that name into dir and returns its path.
func Make(t testing.TB, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = find(t, name).write(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return path
}

// Disk is the content of a virtual disk.
type Disk interface {
	io.ReaderAt
	Size() int64
}

// Shows returns what the file shows, over its parent if it has one.
func Shows(t testing.TB, name string) Disk {
	t.Helper()
	c := &content{}
	for name != "" {
		d := find(t, name)
		c.layers = append(c.layers, d)
		name = d.parent
	}
	return c
}

// MD5 returns the sum of what the file shows.
func MD5(t testing.TB, name string) string {
	t.Helper()
	h, disk := md5.New(), Shows(t, name)
	if _, err := io.Copy(h, io.NewSectionReader(disk, 0, disk.Size())); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func find(t testing.TB, name string) *disk {
	t.Helper()
	for _, d := range disks() {
		if d.name == name {
			return d
		}
	}
	t.Fatalf("there is no file %q to be made", name)
	return nil
}

// Source is where a test has the files from.
type Source struct {
	Put func(t testing.TB, dir, name string) string // puts a file into dir and returns its path
	MD5 func(t testing.TB, name string) string      // of what the file shows
}

// Both runs a test with files that are made, and with the samples where there are any.
func Both(t *testing.T, test func(t *testing.T, s Source)) {
	t.Run("made", func(t *testing.T) { test(t, Source{Make, MD5}) })
	t.Run("samples", func(t *testing.T) {
		samples.Dir(t)
		test(t, Source{
			Put: func(t testing.TB, dir, name string) string { return samples.Unpack(t, dir, "vhdx/"+name) },
			MD5: func(_ testing.TB, name string) string { return sampleSums[name] },
		})
	})
}

// sampleSums are the sums of what the samples show; independent readers agreed on them.
var sampleSums = map[string]string{
	"fat-parent.vhdx":        "6aaec9014a00d9ae20d7ea6dee900c6b",
	"fat-differential.vhdx":  "cb133190486199033a27e789dd5d530c",
	"ntfs-dynamic.vhdx":      "20158534070142d63ee02c9ad1a9d87e",
	"ext2.vhdx":              "196066add11fb71c4c49cf1bb50d6d24",
	"iotest-dynamic-1G.vhdx": "8a5df7512d96578c537279cee90b5e8d",
	"vhdx-log-replay.vhdx":   "671f96cf63f64ba869ce0fda80a48c6d",
}
