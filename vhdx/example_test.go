package vhdx_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"troy/vhdx"
)

// Make a disk and a child of it, write to the child, see who holds what, and
// merge.
func Example() {
	dir, err := os.MkdirTemp("", "vhdx")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	base, err := vhdx.Create(filepath.Join(dir, "base.vhdx"), &vhdx.CreateOptions{Size: 1 << 30})
	if err != nil {
		log.Fatal(err)
	}
	child, err := vhdx.Create(filepath.Join(dir, "child.vhdx"), &vhdx.CreateOptions{Kind: vhdx.Differencing, Parent: base})
	if err != nil {
		log.Fatal(err)
	}
	c, err := vhdx.NewChain(child, base)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.WriteAt(make([]byte, 4096), 64<<10); err != nil {
		log.Fatal(err)
	}
	for e, err := range c.Extents(0, 1<<20) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Offset, e.Length, e.Kind, "layer", e.Layer)
	}
	if err := vhdx.Merge(context.Background(), child, base, nil); err != nil {
		log.Fatal(err)
	}
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 0 65536 absent layer 1
	// 65536 4096 data layer 0
	// 69632 978944 absent layer 1
}

// Check a file and print what is wrong with it.
func ExampleCheck() {
	path := filepath.Join(os.TempDir(), "vhdx-example-check.vhdx")
	defer os.Remove(path)
	f, err := vhdx.Create(path, &vhdx.CreateOptions{Size: 1 << 30, Overwrite: true})
	if err != nil {
		log.Fatal(err)
	}
	if err := f.Close(); err != nil {
		log.Fatal(err)
	}
	h, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	if _, err := h.WriteAt([]byte{1}, vhdx.Header1Offset+100); err != nil {
		log.Fatal(err)
	}
	rep, err := vhdx.Check(h, f.FileSize(), nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, finding := range rep.Findings {
		fmt.Println(finding)
	}
	// Output:
	// warning: header at offset 0x10000: this copy is damaged (checksum is wrong)
}
