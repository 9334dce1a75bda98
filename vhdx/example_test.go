package vhdx_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"troy/vhdx"
)

// Make a disk of 1 GiB, write to it, and see how little room it takes: blocks get space in the file
// when they are written.
func ExampleCreate() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "disk.vhdx")

	f, err := vhdx.Create(path, &vhdx.CreateOptions{Size: 1 << 30, BlockSize: 1 << 20})
	if err != nil {
		log.Fatal(err)
	}
	disk, err := vhdx.NewChain(f) // a chain of one: the disk has no parent
	if err != nil {
		log.Fatal(err)
	}
	if _, err := disk.WriteAt([]byte("hello"), 500<<20); err != nil {
		log.Fatal(err)
	}
	if err := disk.Close(); err != nil { // also makes everything durable
		log.Fatal(err)
	}

	info, err := os.Stat(path)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("disk of", 1<<30, "bytes, file of", info.Size())
	// Output:
	// disk of 1073741824 bytes, file of 5242880
}

// Open a file to see what it is. Nothing is written.
func ExampleOpen() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	_, child := makePair(dir)

	f, err := vhdx.Open(child, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	m := f.Metadata()
	fmt.Println(m.Kind(), "disk of", m.VirtualDiskSize, "bytes, made by", f.Creator())
	fmt.Println("parent:", f.ParentName())
	// Output:
	// differencing disk of 1073741824 bytes, made by Troy
	// parent: base.vhdx
}

// Open a differencing disk together with its parents, and read it.
func ExampleOpenChain() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	_, child := makePair(dir)

	// Parents are looked for in the folder of the child, under the name that the child gives.
	disk, err := vhdx.OpenChain(child, &vhdx.ChainOptions{Parents: &vhdx.Parents{}})
	if err != nil {
		log.Fatal(err)
	}
	defer disk.Close()

	b := make([]byte, 16)
	if _, err := disk.ReadAt(b, 0); err != nil { // any offset and length
		log.Fatal(err)
	}
	fmt.Printf("%q\n", b)
	// Output:
	// "new text\x00\x00\x00\x00\x00\x00\x00\x00"
}

// See which parts of a disk hold data, and in which file they are.
func ExampleChain_Extents() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	_, child := makePair(dir)
	disk, err := vhdx.OpenChain(child, &vhdx.ChainOptions{Parents: &vhdx.Parents{}})
	if err != nil {
		log.Fatal(err)
	}
	defer disk.Close()

	for e, err := range disk.Extents(0, disk.Size()) {
		if err != nil {
			log.Fatal(err)
		}
		if e.Kind == vhdx.Data {
			fmt.Println(e.Length, "bytes at", e.Offset, "in", filepath.Base(disk.Files()[e.Layer].Path()))
		}
	}
	// Output:
	// 512 bytes at 0 in child.vhdx
	// 33553920 bytes at 512 in base.vhdx
}

// Merge a differencing disk into its parent. Afterwards the parent alone shows what both showed,
// and the child can be deleted.
func ExampleMerge() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	base, child := makePair(dir)

	c, err := vhdx.Open(child, &vhdx.OpenOptions{Writable: true})
	if err != nil {
		log.Fatal(err)
	}
	p, err := vhdx.Open(base, &vhdx.OpenOptions{Writable: true})
	if err != nil {
		log.Fatal(err)
	}
	if err := vhdx.Merge(context.Background(), c, p, nil); err != nil {
		log.Fatal(err)
	}
	for _, f := range []*vhdx.File{c, p} {
		if err := f.Close(); err != nil {
			log.Fatal(err)
		}
	}

	disk, err := vhdx.OpenChain(base, nil) // it has no parent
	if err != nil {
		log.Fatal(err)
	}
	defer disk.Close()
	b := make([]byte, 8)
	if _, err := disk.ReadAt(b, 0); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", b)
	// Output:
	// new text
}

// Convert a differencing disk and its parents into one file: here a raw image.
func ExampleConvert() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	_, child := makePair(dir)
	disk, err := vhdx.OpenChain(child, &vhdx.ChainOptions{Parents: &vhdx.Parents{}})
	if err != nil {
		log.Fatal(err)
	}
	defer disk.Close()

	raw := filepath.Join(dir, "disk.raw")
	if err := vhdx.Convert(context.Background(), raw, disk, &vhdx.ConvertOptions{To: vhdx.ToRaw}); err != nil {
		log.Fatal(err)
	}
	f, err := os.Open(raw)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 8)
	if _, err := f.ReadAt(b, 0); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", b)
	// Output:
	// new text
}

// Check a file and print what is wrong with it.
func ExampleCheck() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	base, _ := makePair(dir)
	f, err := os.OpenFile(base, os.O_RDWR, 0)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{1}, vhdx.Header1Offset+100); err != nil { // damage one of two copies
		log.Fatal(err)
	}

	info, err := f.Stat()
	if err != nil {
		log.Fatal(err)
	}
	report, err := vhdx.Check(f, info.Size(), nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, finding := range report.Findings {
		fmt.Println(finding)
	}
	// Output:
	// warning: header at offset 0x10000: this copy is damaged (checksum is wrong)
}

// tempDir makes a folder for the files of an example.
func tempDir() string {
	dir, err := os.MkdirTemp("", "vhdx")
	if err != nil {
		log.Fatal(err)
	}
	return dir
}

// makePair makes a disk that begins with "old text", and a differencing disk over it that begins
// with "new text".
func makePair(dir string) (base, child string) {
	base, child = filepath.Join(dir, "base.vhdx"), filepath.Join(dir, "child.vhdx")
	parent, err := vhdx.Create(base, &vhdx.CreateOptions{Size: 1 << 30})
	if err != nil {
		log.Fatal(err)
	}
	writeText("old text", parent)
	leaf, err := vhdx.Create(child, &vhdx.CreateOptions{Kind: vhdx.Differencing, Parent: parent})
	if err != nil {
		log.Fatal(err)
	}
	if disk := writeText("new text", leaf, parent); disk.Close() != nil {
		log.Fatal("close")
	}
	return base, child
}

// writeText writes at the start of the disk that the files make up, leaf first.
func writeText(text string, files ...*vhdx.File) *vhdx.Chain {
	disk, err := vhdx.NewChain(files...)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := disk.WriteAt([]byte(text), 0); err != nil {
		log.Fatal(err)
	}
	if err := disk.Sync(); err != nil {
		log.Fatal(err)
	}
	return disk
}
