package chainload

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/chainload/bcd"
	"troy/internal/guid"
	"troy/internal/testing/hivextest"
)

func TestHandOffWrongStore(t *testing.T) {
	m := newMachine(t)
	v := m.vhd()
	right := store(t, v)
	dirty := bytes.Clone(right)
	binary.LittleEndian.PutUint32(dirty[4:], 77) // first sequence number
	binary.LittleEndian.PutUint32(dirty[508:], binary.LittleEndian.Uint32(dirty[508:])^1^77)
	for name, old := range map[string][]byte{
		"other disk":      store(t, bcd.VHD{Disk: guid.GUID{9}, Partition: v.Partition, Path: v.Path}),
		"other partition": store(t, bcd.VHD{Disk: v.Disk, Partition: guid.GUID{9}, Path: v.Path}),
		"other path":      store(t, bcd.VHD{Disk: v.Disk, Partition: v.Partition, Path: `\other.vhdx`}),
		"dirty":           dirty,
		"cut off":         right[:5000],
		"empty":           {},
		"no hive":         bytes.Repeat([]byte("no hive "), 4096),
	} {
		for _, keep := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/keep=%v", name, keep), func(t *testing.T) {
				m := newMachine(t)
				m.opts.KeepStore = keep
				m.put(t, "bcd", old)
				m.put(t, "BCD.LOG", nil)
				r := m.handOff(t)
				want := StoreWritten
				if keep && strings.HasPrefix(name, "other") {
					want = StorePatched
				}
				if r.Store != want || r.storeReason == nil {
					t.Errorf("store %s because %v, want %s", r.Store, r.storeReason, want)
				}
				if got := m.files(t); !slices.Equal(got, []string{"BCD.old", "bcd", "bootmgfw.efi"}) {
					t.Errorf("files %q", got)
				}
				if !bytes.Equal(m.get(t, "BCD.old"), old) {
					t.Error("BCD.old is not the old store")
				}
				if err := os.Rename(filepath.Join(m.dir, "bcd"), filepath.Join(m.dir, "BCD")); err != nil {
					t.Fatal(err)
				}
				m.bootsVHD(t)
			})
		}
	}
}

// With KeepStore, what an admin put into the store stays there.
func TestHandOffKeepsElements(t *testing.T) {
	m := newMachine(t)
	m.opts.KeepStore = true
	old := hivextest.Edit(t, store(t, bcd.VHD{Disk: guid.GUID{9}, Partition: guid.GUID{9}, Path: `\b.vhdx`}),
		`cd \Objects\`+bootManager+`\Elements\25000004`, "setval 1", "Element", "hex:3:1e,00,00,00,00,00,00,00")
	m.put(t, "BCD", old)
	if r := m.handOff(t); r.Store != StorePatched {
		t.Fatalf("store %s because %v", r.Store, r.storeReason)
	}
	m.bootsVHD(t)
	root := hivextest.Read(t, m.get(t, "BCD"))
	e := root.Key("Objects").Key(bootManager).Key("Elements").Key("25000004")
	if got := e.Values[0].Data(t); got != "\x1e\x00\x00\x00\x00\x00\x00\x00" {
		t.Errorf("timeout %x, want 30", got)
	}
}

// A store that other device elements do not make right is made again.
func TestHandOffCannotKeep(t *testing.T) {
	m := newMachine(t)
	m.opts.KeepStore = true
	wrong := store(t, bcd.VHD{Disk: guid.GUID{9}, Partition: guid.GUID{9}, Path: `\b.vhdx`})
	id := defaultLoader(t, wrong)
	m.put(t, "BCD", hivextest.Edit(t, wrong, `cd \Objects\`+id+`\Elements\12000002`, "setval 1", "Element", `string:\Windows\system32\winload.exe`))
	if r := m.handOff(t); r.Store != StoreWritten {
		t.Errorf("store %s because %v", r.Store, r.storeReason)
	}
	m.bootsVHD(t)
}

// What a power cut can leave of an earlier attempt.
func TestHandOffAfterPowerCut(t *testing.T) {
	right := store(t, newMachine(t).vhd())
	for name, files := range map[string]map[string][]byte{
		"new store cut off":       {"BCD": []byte("wrong"), "BCD.new": right[:700]},
		"new store not renamed":   {"BCD": []byte("wrong"), "BCD.new": right, "BCD.old": []byte("wrong")},
		"no store":                {"BCD.new": right},
		"old store cut off":       {"BCD": []byte("wrong"), "BCD.new": right, "BCD.old": []byte("wr")},
		"long remains of a write": {"BCD.new": make([]byte, 1<<20), "BCD.old": make([]byte, 1<<20)},
	} {
		m := newMachine(t)
		for file, data := range files {
			m.put(t, file, data)
		}
		if r := m.handOff(t); r.Store != StoreWritten || len(r.Notes) != 0 {
			t.Errorf("%s: result %+v", name, r)
		}
		m.bootsVHD(t)
		if _, err := os.Stat(filepath.Join(m.dir, "BCD.new")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: BCD.new is left", name)
		}
	}
}

// An ESP that takes no new file keeps its old store, and the firmware is not
// pointed at it.
func TestHandOffStoreNotWritable(t *testing.T) {
	m := newMachine(t)
	m.put(t, "BCD", []byte("wrong"))
	if err := os.MkdirAll(filepath.Join(m.dir, "BCD.new", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := HandOff(context.Background(), m.opts)
	if !errors.Is(err, ErrESP) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v, want ErrESP in one line", err)
	}
	if string(m.get(t, "BCD")) != "wrong" || len(m.fw.Writes) != 0 {
		t.Errorf("store %q, writes %q", m.get(t, "BCD"), m.fw.Writes)
	}
}

// The copy of the old store is a service: without it Windows is started anyway.
func TestHandOffNoCopy(t *testing.T) {
	m := newMachine(t)
	m.put(t, "BCD", []byte("wrong"))
	if err := os.MkdirAll(filepath.Join(m.dir, "BCD.old", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if r := m.handOff(t); len(r.Notes) != 1 || r.Store != StoreWritten || r.Method != ByBootNext {
		t.Errorf("result %+v", r)
	}
	m.bootsVHD(t)
}

func TestHandOffHugeStore(t *testing.T) {
	m := newMachine(t)
	m.put(t, "BCD", nil)
	if err := os.Truncate(filepath.Join(m.dir, "BCD"), 1<<32); err != nil {
		t.Fatal(err)
	}
	if r := m.handOff(t); r.Store != StoreWritten || !slices.Equal(m.files(t), []string{"BCD", "bootmgfw.efi"}) {
		t.Errorf("result %+v, files %q", r, m.files(t))
	}
	m.bootsVHD(t)
}
