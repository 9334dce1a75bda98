// Command nextdocs writes and reads documents for tests. Built with the tag next, it is a program of
// the release after this one (internal/format): a test builds it so, and looks at what programs of two
// releases do with each other's documents.
//
//	nextdocs write DIR      a signed store, all of whose documents this program wrote
//	nextdocs read DIR       reads such a store as a machine does
//	nextdocs note FILE      writes a record of a journal, as an agent on trial does
//	nextdocs raise FILE     makes the format of a journal that of this program
//	nextdocs offer FILE     writes the check-in of an agent
//	nextdocs answer FILE    replaces the check-in in it by the order of a server
//	nextdocs follow FILE    reads an order as an agent does
//	nextdocs keep FILE      opens the state of a server
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"troy/chainload/release"
	"troy/diskwriter/machine"
	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
)

func main() {
	acts := map[string]func(string) error{"write": write, "read": read, "note": note, "raise": raise,
		"offer": offer, "answer": answer, "follow": follow, "keep": keep}
	if len(os.Args) != 3 || acts[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: nextdocs ACT PATH")
		os.Exit(64)
	}
	if err := acts[os.Args[1]](os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// write makes the store DIR/store, and DIR/release.json.
func write(dir string) error {
	ctx, now, path := context.Background(), time.Now(), filepath.Join(dir, "store")
	store, err := publish.Init(path)
	if err != nil {
		return err
	}
	repo, err := sign.Init(path, now, nil)
	if err != nil {
		return err
	}
	disk := &publish.Disk{Reader: bytes.NewReader(make([]byte, 1<<20)), Size: 1 << 20, SectorSize: 512, DataWriteGUID: "11111111-1111-4111-8111-111111111111"}
	if _, err := publish.Import(ctx, store, "pc", disk, nil); err != nil {
		return err
	}
	if _, err := repo.SignAll(ctx, store, now); err != nil {
		return err
	}
	key := strings.Repeat("ab", 32)
	if err := repo.SetServers(ctx, store, []trust.Server{{Key: key}}, now); err != nil {
		return err
	}
	p := trust.Permit{Scope: trust.Wipe, Disk: "S1234", Until: now.AddDate(0, 0, 9)}
	if err := repo.Permit(ctx, store, []trust.Permit{p}, nil, now); err != nil {
		return err
	}
	if err := repo.Confirm([]sign.Confirmed{{Name: "pc-01", Key: key}}); err != nil {
		return err
	}
	r := trust.AgentRelease{Release: release.Release{Version: "1", Files: []release.File{{Name: "vmlinuz", Size: 1}}}}
	b, err := r.Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, release.Document), b, 0o644)
}

// read follows the signatures of the store DIR/store to what lies in it.
func read(dir string) error {
	ctx, now := context.Background(), time.Now()
	store, err := image.OpenStore(filepath.Join(dir, "store"))
	if err != nil {
		return err
	}
	repo, err := sign.Open(store.String(), nil)
	if err != nil {
		return err
	}
	src, err := repo.Source(ctx, store)
	if err != nil {
		return err
	}
	plan, err := image.LoadPlan(ctx, src, "pc", 0, 1)
	if err != nil {
		return err
	}
	if _, err := plan.Fetch(ctx, src, discard{}, nil); err != nil {
		return err
	}
	return src.Permitted(ctx, trust.Use{Scope: trust.Wipe, Disk: "S1234"}, now)
}

type discard struct{}

// WriteAt implements io.WriterAt.
func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func note(path string) error {
	return withJournal(path, func(j *machine.Journal) error { return j.Put(machine.RecordAgent, []byte("noted")) })
}

func raise(path string) error {
	return withJournal(path, func(j *machine.Journal) error { return j.Raise() })
}

// withJournal works on a file that is a journal.
func withJournal(path string, do func(*machine.Journal) error) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	j, err := machine.OpenJournal(machine.File{Storage: f, Size: machine.JournalSize})
	if err != nil {
		return err
	}
	return do(j)
}
