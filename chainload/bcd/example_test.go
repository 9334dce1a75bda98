package bcd_test

import (
	"errors"
	"fmt"
	"log"

	"troy/chainload/bcd"
	"troy/internal/guid"
)

// file is where the boot child of a machine lies.
func file() bcd.VHD {
	return bcd.VHD{
		Disk:      guid.Must("00112233-4455-6677-8899-aabbccddeeff"),
		Partition: guid.Must("a0a1a2a3-b0b1-c0c1-d0d1-e0e1e2e3e4e5"),
		Path:      bcd.DefaultPath,
	}
}

// A store for a machine whose ESP has none.
func ExampleNew() {
	store, err := bcd.New(file(), guid.Must("01020304-0506-0708-090a-0b0c0d0e0f10"))
	if err != nil {
		log.Fatal(err)
	}
	b, err := store.Marshal()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, %d bytes\n", b[:4], len(b))
	// Output: regf, 12288 bytes
}

// A store that boots Windows from another place is found out, and mended without touching anything
// else in it.
func ExampleStore_PatchVHD() {
	elsewhere := file()
	elsewhere.Path = `\images\old.vhdx`
	store, err := bcd.New(elsewhere, guid.GUID{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(errors.Is(store.Names(file()), bcd.ErrOtherTarget))
	if err := store.PatchVHD(file()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(store.Names(file()))
	// Output:
	// true
	// <nil>
}

// What is no hive is refused with a reason.
func ExampleParse() {
	_, err := bcd.Parse([]byte("this is a text, not a hive"))
	fmt.Println(err)
	// Output: bcd: regf: base block at byte 0x0: file of 26 bytes is shorter than the shortest hive
}
