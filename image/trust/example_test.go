package trust_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"troy/diskwriter/machine"
	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/testing/trusttest"
)

// journalMemory keeps what the agent trusts in the machine's journal.
type journalMemory struct{ j *machine.Journal }

func (m journalMemory) Load() ([]byte, error) { return m.j.Get(machine.RecordTrust) }
func (m journalMemory) Save(b []byte) error   { return m.j.Put(machine.RecordTrust, b) }

// buildStamp is when the agent was built: no signature that counts is older than that.
var buildStamp = time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)

// ownKey is the key of the machine, which lies in its journal.
var ownKey = trusttest.Key

// obey is what the agent does with an order of the server, which is not signed.
func obey(ctx context.Context, src image.Source, root []byte, memory trust.Memory, name string, have, want int, now time.Time) (*image.Plan, *trust.Source, error) {
	signed, _, err := trust.Pinned(ctx, src, now, &trust.PinnedOptions{Root: root, Memory: memory, Built: buildStamp}) // with netfetch: NotFound says errors.Is(err, netfetch.ErrNotFound)
	if err != nil {
		return nil, nil, err
	}
	if want < have {
		if err := signed.Permitted(ctx, trust.Use{Scope: trust.Downgrade, Key: ownKey, Image: name, Version: want}, now); err != nil {
			return nil, nil, err
		}
	}
	plan, err := image.LoadPlan(ctx, signed, name, have, want) // from here on signed is the only trusttest.Source
	return plan, signed, err
}

func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, now := context.Background(), time.Date(2031, 3, 1, 0, 0, 0, 0, time.UTC)

	// The admin: a store with a version, signed; the root goes to the media.
	store, err := publish.Init(filepath.Join(dir, "store"))
	if err != nil {
		log.Fatal(err)
	}
	repo, err := sign.Init(store.String(), now, nil)
	if err != nil {
		log.Fatal(err)
	}
	content := bytes.Repeat([]byte("Windows "), 1<<17)
	if _, err := publish.Import(ctx, store, "pc", &publish.Disk{Reader: bytes.NewReader(content), Size: 1 << 20, SectorSize: 512, DataWriteGUID: "1"}, nil); err != nil {
		log.Fatal(err)
	}
	if _, err := repo.SignAll(ctx, store, now); err != nil {
		log.Fatal(err)
	}
	root, err := repo.Root()
	if err != nil {
		log.Fatal(err)
	}

	// The machine: its journal lies in a file of the NTFS volume.
	f, err := os.Create(filepath.Join(dir, "journal"))
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(machine.JournalSize); err != nil {
		log.Fatal(err)
	}
	journal, err := machine.OpenJournal(machine.File{Storage: f, Size: machine.JournalSize})
	if err != nil {
		log.Fatal(err)
	}
	plan, signed, err := obey(ctx, store, root, journalMemory{journal}, "pc", 0, 1, now)
	if err != nil {
		log.Fatal(err)
	}
	got := make(trusttest.Disk, plan.VirtualSize)
	if _, err := plan.Fetch(ctx, signed, got, nil); err != nil {
		log.Fatal(err)
	}
	fmt.Println(plan, bytes.Equal(got, content))

	_, _, err = obey(ctx, store, root, journalMemory{journal}, "pc", 1, 1, now.AddDate(0, 1, 0))
	fmt.Println(err != nil) // the timestamp was not renewed for a month
	// Output:
	// pc nothing to version 1 true
	// true
}
