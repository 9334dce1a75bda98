package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"troy/chainload"
	"troy/chainload/secureboot"
	"troy/diskwriter/pcdisk"
	"troy/internal/testing/efiprogram"
	"troy/internal/testing/needs"
	"troy/server/protocol"
)

const espManager = "EFI/Microsoft/Boot/bootmgfw.efi"

// managers are boot managers that rise in version.
var managers = func() (all [][]byte) {
	for i := range uint32(4) {
		all = append(all, efiprogram.Make(efiprogram.Options{SVN: i << 16, CA: secureboot.PCA2011, Body: []byte{byte(i)}}))
	}
	return all
}()

// newBootBench has versions whose Windows come with the boot managers 1 and 2; the first stands on
// the ESP.
func newBootBench(t *testing.T, merge protocol.Merge) *bench {
	t.Helper()
	needs.Root(t)
	made := newBenchIn(t, filepath.Join(template, "boot"))
	if _, err := os.Stat(made.dir); err != nil {
		makeBootBench(made)
	}
	b := newBenchIn(t, filepath.Join(t.TempDir(), "bench"))
	b.tool(nil, "cp", "-r", "--sparse=always", made.dir, b.dir)
	b.orders = fixedOrders{Image: testImage, Version: 2, Rules: protocol.Rules{Merge: merge}}
	b.url = b.serve(b.store)
	b.setManager(managers[1])
	return b
}

func makeBootBench(b *bench) {
	b.t.Helper()
	for _, dir := range []string{b.dir, b.dmi, b.media} {
		b.must(os.MkdirAll(dir, 0o755))
	}
	b.must(os.WriteFile(filepath.Join(b.dmi, "product_uuid"), []byte("4C4C4544-0042-3510-8054-B4C04F564231\n"), 0o644))
	part := filepath.Join(b.dir, "inside")
	b.must(os.WriteFile(part, nil, 0o644))
	b.must(os.Truncate(part, 20<<20))
	b.tool(nil, "mkntfs", "-F", "-q", "-Q", "-p", "2048", "-s", "512", "-H", "16", "-S", "63", part)
	for i, raw := range []string{b.v1, b.v2} {
		b.must(pcdisk.Mounted(b.t.Context(), part, func(root string) error {
			dir := filepath.Join(root, "Windows", "Boot", "EFI")
			b.must(os.MkdirAll(dir, 0o755))
			return os.WriteFile(filepath.Join(dir, "bootmgfw.efi"), managers[i+1], 0o644)
		}))
		b.must(os.WriteFile(raw, nil, 0o644))
		b.must(os.Truncate(raw, testVirtual))
		b.tool(nil, "sgdisk", "-U", "11111111-2222-3333-4444-555555555555", "-n", "1:2048:43007", "-t", "1:0700", "-u", "1:11111111-2222-3333-4444-666666666666", raw)
		b.tool(nil, "dd", "if="+part, "of="+raw, "bs=1M", "seek=1", "conv=notrunc", "status=none")
	}
	b.publish()
	b.makePC(1, b.v1)
}

func (b *bench) setManager(program []byte) {
	b.t.Helper()
	b.must(os.MkdirAll(filepath.Join(b.esp, filepath.Dir(espManager)), 0o755))
	b.must(os.WriteFile(filepath.Join(b.esp, espManager), program, 0o644))
}

// hasManager checks what stands on the ESP.
func (b *bench) hasManager(want []byte) {
	b.t.Helper()
	have, err := os.ReadFile(filepath.Join(b.esp, espManager))
	b.must(err)
	if !bytes.Equal(have, want) {
		p, err := secureboot.Parse(have)
		b.t.Errorf("the boot manager on the ESP is %+v (%v)", p, err)
	}
}

// good lets the machine start, and hand over.
func (b *bench) good() {
	b.t.Helper()
	if code := b.run(); code != ExitDone || !b.handed {
		b.t.Fatalf("exit code %d, handed over %t", code, b.handed)
	}
}

// A start that was cut off between the commit and the boot files: the next one brings them.
func TestBootFilesAfterCut(t *testing.T) {
	for _, merge := range []protocol.Merge{protocol.MergeNow, protocol.MergeLazy} {
		t.Run(string(merge), func(t *testing.T) {
			b := newBootBench(t, merge)
			b.stageVersion2(true) // the power is cut here
			b.good()
			b.holds(b.v2)
			b.hasManager(managers[2])
		})
	}
}

// Whatever became of the ESP, the next start brings it back, with or without a server; and where
// nothing became of it, nothing is written.
func TestBootFilesAreMended(t *testing.T) {
	b := newBootBench(t, protocol.MergeLazy)
	b.good()
	b.windows() // and so the version is a good one
	b.good()
	b.hasManager(managers[2])
	manager := filepath.Join(b.esp, espManager)
	for name, spoil := range map[string]func(){
		"torn renames": func() { // a cut before the last renames
			b.must(os.Rename(manager, manager+".troynew"))
			b.setManager(managers[1])
		},
		"a bit": func() {
			b.setManager(append(bytes.Clone(managers[2][:0x410]), make([]byte, len(managers[2])-0x410)...))
		},
		"emptied": func() { b.must(os.Truncate(manager, 0)) },
		"removed": func() { b.must(os.RemoveAll(filepath.Join(b.esp, "EFI"))) },
	} {
		t.Run(name, func(t *testing.T) {
			spoil()
			b.good()
			b.hasManager(managers[2])
			before, err := os.Stat(manager)
			b.must(err)
			b.good()
			after, err := os.Stat(manager)
			b.must(err)
			if strings.Contains(b.out.String(), "boot files:") || !os.SameFile(before, after) {
				t.Error("the boot files are written once more")
			}
		})
	}
	b.must(os.Truncate(manager, 0))
	b.url = "https://127.0.0.1:1" // reserved: nothing listens there
	b.run()
	b.hasManager(managers[2])
}

// A version that does not come up, perhaps by its boot manager, is given up for the one below. Its
// boot manager goes with it, but not one that Windows brought since, nor where dbx asks for it.
func TestBootFilesGivenUp(t *testing.T) {
	dbx := func(major uint16) fstest.MapFS {
		return fstest.MapFS{"dbx-d719b2cb-3d3a-4596-a3bc-dad00e67656f": {
			Data: append([]byte{0x27, 0, 0, 0}, efiprogram.List(efiprogram.SHA256, 0, efiprogram.SVN(major))...)}}
	}
	for name, c := range map[string]struct {
		firmware fstest.MapFS
		since    []byte // what Windows wrote to the ESP
		want     []byte
	}{
		"back":                   {dbx(1), nil, managers[1]},
		"dbx refuses the older":  {dbx(2), nil, managers[2]},
		"Windows brought it":     {dbx(1), managers[3], managers[3]},
		"Windows brought a less": {dbx(1), managers[0], managers[1]},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBootBench(t, protocol.MergeLazy)
			b.firmware = c.firmware
			for range chainload.MaxStarts {
				b.good()
			}
			b.hasManager(managers[2])
			if c.since != nil {
				b.setManager(c.since)
			}
			b.run() // gives version 2 up
			b.holds(b.v1)
			b.hasManager(c.want)
			b.run()
			b.hasManager(c.want)
		})
	}
}

// An order to go back takes the version back, and not the boot manager.
func TestBootFilesOnlyForward(t *testing.T) {
	b := newBootBench(t, protocol.MergeLazy)
	b.good()
	b.orders.Version = 1
	b.permit(downgrade(1))
	b.good()
	b.holds(b.v1)
	b.hasManager(managers[2])
	if !strings.Contains(b.out.String(), "boot files: the boot manager on the ESP (0.0.0.0, security version 2.0) stays") {
		t.Error("it does not say so")
	}
}

// The keys of the firmware are set back to those of the factory: what is there does not start any
// more, and the image has what does.
func TestBootFilesFollowKeys(t *testing.T) {
	newer := efiprogram.Make(efiprogram.Options{SVN: 9 << 16, CA: secureboot.CA2023})
	variable := func(lists ...[]byte) *fstest.MapFile {
		return &fstest.MapFile{Data: append([]byte{0x27, 0, 0, 0}, bytes.Join(lists, nil)...)}
	}
	const db = "db-d719b2cb-3d3a-4596-a3bc-dad00e67656f"
	b := newBootBench(t, protocol.MergeLazy)
	b.firmware = fstest.MapFS{"SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": {Data: []byte{6, 0, 0, 0, 1}},
		db: variable(efiprogram.CA(secureboot.PCA2011), efiprogram.CA(secureboot.CA2023))}
	b.good()
	b.setManager(newer) // as Windows does
	b.good()
	b.hasManager(newer)
	b.firmware[db] = variable(efiprogram.CA(secureboot.PCA2011))
	b.good()
	b.hasManager(managers[2])
	b.firmware[db] = variable(efiprogram.CA("another"))
	b.run()
	b.hasManager(managers[2])
	if !strings.Contains(b.out.String(), "the firmware starts no boot manager of the image") {
		t.Error("it does not say that this machine starts none of them")
	}
}
