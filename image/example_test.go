package image_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"

	"troy/image"
	"troy/image/publish"
)

// diskBytes is a disk in memory.
type diskBytes []byte

func (d diskBytes) WriteAt(p []byte, off int64) (int, error) { return copy(d[off:], p), nil }

// publishTwo publishes two versions of the image pc: version 2 has a new page and a page that was
// elsewhere in version 1.
func publishTwo(ctx context.Context, dir string) (*image.Store, error) {
	s, err := publish.Init(dir)
	if err != nil {
		return nil, err
	}
	v1 := make([]byte, 64*image.PageSize)
	copy(v1[10*image.PageSize:], "Windows")
	v2 := bytes.Clone(v1)
	copy(v2[20*image.PageSize:], "an update")
	copy(v2[40*image.PageSize:], "Windows")
	clear(v2[10*image.PageSize : 11*image.PageSize])
	first := &publish.Disk{Reader: bytes.NewReader(v1), Size: int64(len(v1)), SectorSize: 512, DataWriteGUID: "1"}
	second := &publish.Disk{Reader: bytes.NewReader(v2), Size: int64(len(v2)), SectorSize: 512, DataWriteGUID: "2"}
	if _, err := publish.Import(ctx, s, "pc", first, nil); err != nil {
		return nil, err
	}
	_, err = publish.Add(ctx, s, "pc", publish.CompareDisk(second, first), nil)
	return s, err
}

func ExamplePlan() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	store, err := publishTwo(ctx, dir)
	if err != nil {
		log.Fatal(err)
	}

	// A machine with an empty disk.
	plan, err := image.LoadPlan(ctx, store, "pc", 0, 1)
	if err != nil {
		log.Fatal(err)
	}
	disk := make(diskBytes, plan.VirtualSize)
	if _, err := plan.Fetch(ctx, store, disk, nil); err != nil {
		log.Fatal(err)
	}

	// The same machine is updated: what it has is not fetched.
	plan, err = image.LoadLocalPlan(ctx, store, "pc", 1, 2)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(plan)
	for _, r := range plan.Runs() {
		fmt.Printf("page %d, %d bytes, zero %v\n", r.Offset/image.PageSize, r.Length, r.Zero)
	}
	old := bytes.NewReader(bytes.Clone(disk))
	stats, err := plan.Fetch(ctx, store, disk, &image.FetchOptions{Local: old})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("written %d, of them copied %d and zeros %d\n", stats.WrittenBytes, stats.CopiedBytes, stats.ZeroBytes)
	fmt.Println(stats.FetchedBytes == plan.FetchBytes && plan.FetchBytes < image.PageSize)

	m, err := image.LoadMap(ctx, store, "pc", 2)
	if err != nil {
		log.Fatal(err)
	}
	damaged, err := m.Verify(ctx, bytes.NewReader(disk), nil)
	fmt.Println(damaged, err)
	// Output:
	// pc version 1 to 2
	// page 10, 4096 bytes, zero true
	// page 20, 4096 bytes, zero false
	// page 40, 4096 bytes, zero false
	// written 12288, of them copied 4096 and zeros 4096
	// true
	// [] <nil>
}
