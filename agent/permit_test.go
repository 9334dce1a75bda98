package agent

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/server/protocol"
)

// permit signs a permit for the machine, by the key in its journal.
func (b *bench) permit(p trust.Permit) {
	b.t.Helper()
	p.Key = b.key()
	b.sign(p)
}

// sign signs a permit.
func (b *bench) sign(p trust.Permit) {
	b.t.Helper()
	repo, err := sign.Open(b.store, nil)
	b.must(err)
	store, err := image.OpenStore(b.store)
	b.must(err)
	p.Until = time.Now().Add(time.Hour)
	b.must(repo.Permit(b.t.Context(), store, []trust.Permit{p}, nil, time.Now()))
}

// key names the machine's key.
func (b *bench) key() (name string) {
	b.t.Helper()
	b.withTarget(func(tg *pcdisk.Target) {
		files, err := tg.MapFiles()
		b.must(err)
		j, err := machine.OpenJournal(files.Journal)
		b.must(err)
		key, err := keyIn(j)
		b.must(err)
		name, err = key.Name()
		b.must(err)
	})
	return name
}

// downgrade is a permit to go back to a version.
func downgrade(version int) trust.Permit {
	return trust.Permit{Scope: trust.Downgrade, Image: testImage, Version: version}
}

var reinstalls = trust.Permit{Scope: trust.Reinstall}

// reinstallsForNone fails if the machine, called pc-01 by the server, is written over by a permit that
// is not for that and for its key.
func (b *bench) reinstallsForNone() {
	b.t.Helper()
	for name, p := range map[string]trust.Permit{
		"none":                   {},
		"of other scopes":        {Scope: trust.Clear, Key: b.key()},
		"of a wipe":              {Scope: trust.Wipe, Key: b.key()},
		"of a downgrade":         {Scope: trust.Downgrade, Key: b.key(), Image: testImage, Version: 2},
		"of another machine":     {Scope: trust.Reinstall, Key: strings.Repeat("ab", 32)},
		"of its name, to others": {Scope: trust.Reinstall, Name: "pc-01", Disk: "S1234567"},
	} {
		b.t.Run(name, func(t *testing.T) {
			if p.Scope != "" {
				b.sign(p)
			}
			before := b.digest(pcdisk.Journal, pcdisk.Mailbox)
			b.waits(b.run(), "no signed permit", "`troy permit reinstall pc-01 --until DATE`")
			if !b.handed || b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
				t.Errorf("handed over %t, or the disk was written to", b.handed)
			}
		})
	}
}

// A disk that holds something is not wiped by a server's word, nor by a permit for other disks or
// machines. One without a serial number, in a machine that has no lasting key, is a matter for a
// person at the PC.
func TestWipeNeedsPermit(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	const size = 8 << 30
	diary := []byte(strings.Repeat("Dear diary! ", 4096))
	b.must(os.WriteFile(b.disk, diary, 0o644))
	b.must(os.Truncate(b.disk, size))
	b.orders.Permits.Provision = &protocol.Provision{Wipe: true}
	for name, p := range map[string]trust.Permit{
		"none":                {},
		"for another disk":    {Scope: trust.Wipe, Disk: "S1234567"},
		"for another machine": {Scope: trust.Wipe, Key: strings.Repeat("ab", 32)},
	} {
		t.Run(name, func(t *testing.T) {
			if p.Scope != "" {
				b.sign(p)
			}
			code, out := b.run(), b.out.String()
			if code != ExitUntouched || !strings.Contains(out, "waiting: ") || !strings.Contains(out, "no signed permit") || !strings.Contains(out, "prepare it by hand at the PC") {
				t.Errorf("exit code %d\n%s", code, out)
			}
			f, err := os.Open(b.disk)
			b.must(err)
			defer f.Close()
			have := make([]byte, len(diary))
			_, err = f.ReadAt(have, 0)
			b.must(err)
			if !bytes.Equal(have, diary) {
				t.Error("the disk was written to")
			}
		})
	}
}
