package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/diskwriter"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/prepare"
	"troy/diskwriter/target"
	"troy/image"
	"troy/netfetch"
	"troy/qemu-tests/fixture"
	"troy/server"
	"troy/server/protocol"
	"troy/vhdx"
)

const (
	testImage   = "test-image"
	testVirtual = 24 << 20
)

// bench is a store with two versions, a server, and the disk of a PC that holds version 1.
type bench struct {
	t      *testing.T
	dir    string
	store  string
	disk   string
	v1, v2 string
	url    string
	dmi    string
	handed bool // the machine was given to Windows
	out    bytes.Buffer
}

// template is where the files of a bench are made once, for all tests to copy.
var template string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "troy-deploy-test-")
	if err != nil {
		panic(err)
	}
	template = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func newBench(t *testing.T, merge protocol.Merge) *bench {
	t.Helper()
	b := newBenchIn(t, filepath.Join(template, "made"))
	if _, err := os.Stat(b.dir); err != nil {
		b.must(os.Mkdir(b.dir, 0o755))
		b.must(os.Mkdir(b.dmi, 0o755))
		b.must(os.WriteFile(filepath.Join(b.dmi, "product_uuid"), []byte("4C4C4544-0042-3510-8054-B4C04F564231\n"), 0o644))
		b.makeVersions()
		b.publish()
		b.must(fixture.MakePC(t.Context(), b.disk, &fixture.PCOptions{Image: testImage, Version: 1, Raw: b.v1, SlotBytes: testVirtual}))
	}
	made := b.dir
	b = newBenchIn(t, filepath.Join(t.TempDir(), "bench"))
	if out, err := exec.Command("cp", "-r", "--sparse=always", made, b.dir).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	b.serve(merge)
	return b
}

func newBenchIn(t *testing.T, dir string) *bench {
	in := func(name string) string { return filepath.Join(dir, name) }
	return &bench{t: t, dir: dir, store: in("store"), disk: in("pc.img"), dmi: in("dmi"), v1: in("v1.raw"), v2: in("v2.raw")}
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// makeVersions writes two raw images: random data with gaps, and the same with pages changed at random places.
func (b *bench) makeVersions() {
	seed := rand.Uint64()
	b.t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	disk := make([]byte, testVirtual)
	noise := rand.NewChaCha8(sha256.Sum256(binary.LittleEndian.AppendUint64(nil, seed)))
	fill := func(off, n int) { noise.Read(disk[off : off+n]) }
	for range 12 {
		fill(r.IntN(testVirtual-1<<20), 1<<20)
	}
	b.must(os.WriteFile(b.v1, disk, 0o644))
	for range 40 {
		fill(r.IntN(testVirtual-64<<10), 1+r.IntN(64<<10))
	}
	zero := r.IntN(testVirtual - 3<<20)
	clear(disk[zero : zero+3<<20])
	fill(0, 1)
	fill(testVirtual-1, 1)
	b.must(os.WriteFile(b.v2, disk, 0o644))
}

func (b *bench) publish() {
	pair, err := fixture.MakePair(b.dir, &fixture.Windows{V1: b.v1, V2: b.v2})
	b.must(err)
	store, err := image.Init(b.store)
	b.must(err)
	open := func(path string) *vhdx.Chain {
		c, err := vhdx.OpenChain(path, &vhdx.ChainOptions{Resolve: vhdx.FolderResolver(b.dir)})
		b.must(err)
		b.t.Cleanup(func() { c.Close() })
		return c
	}
	_, err = store.Import(b.t.Context(), testImage, image.ChainDisk(open(pair.Base)), nil)
	b.must(err)
	_, err = store.Add(b.t.Context(), testImage, image.ChainDisk(open(pair.Child)), nil)
	b.must(err)
}

func (b *bench) serve(merge protocol.Merge) {
	s, err := server.New(&server.Options{Dir: b.store, Orders: &server.Fixed{Image: testImage, Version: 2, Merge: merge}})
	b.must(err)
	b.t.Cleanup(func() { s.Close() })
	h := httptest.NewServer(s)
	b.t.Cleanup(h.Close)
	b.url = h.URL
}

// run runs the agent on the disk image once.
func (b *bench) run() int {
	b.t.Helper()
	b.handed = false
	b.out.Reset()
	a := newAgent(&options{net: netfetch.Params{Servers: []string{b.url}}, disk: b.disk, handOff: true, dmi: b.dmi, patience: 2 * time.Second}, &b.out)
	a.toWindows = func(context.Context) error { b.handed = true; return nil }
	a.reset = func() error { return nil }
	code := a.run(b.t.Context())
	b.t.Logf("exit code %d\n%s", code, b.out.String())
	return code
}

// digest hashes the whole disk, or the disk without the clusters of the named files.
func (b *bench) digest(without ...string) [sha256.Size]byte {
	b.t.Helper()
	disk, err := os.ReadFile(b.disk)
	b.must(err)
	if len(without) > 0 {
		b.withTarget(func(t *target.Target) {
			part, err := t.Device.Partition(t.Data)
			b.must(err)
			files, err := prepare.Files(part, without...)
			b.must(err)
			for _, f := range files {
				for _, r := range f.Runlist() {
					cluster := int64(f.Mapping().ClusterSize)
					start := part.Start() + r.LCN*cluster
					clear(disk[start : start+r.Length*cluster])
				}
			}
		})
	}
	return sha256.Sum256(disk)
}

func (b *bench) withTarget(f func(*target.Target)) {
	b.t.Helper()
	t, err := target.Find([]string{b.disk})
	b.must(err)
	defer t.Close()
	f(t)
}

// holds compares what Windows would see with a raw image.
func (b *bench) holds(raw string) {
	b.t.Helper()
	want, err := os.ReadFile(raw)
	b.must(err)
	b.withTarget(func(t *target.Target) {
		_, _, err := t.Open()
		b.must(err)
		chain, err := target.Chain(t.Files())
		b.must(err)
		have := make([]byte, chain.Size())
		_, err = chain.ReadAt(have, 0)
		b.must(err)
		if !bytes.Equal(have, want) {
			b.t.Errorf("the machine does not hold %s", filepath.Base(raw))
		}
	})
}

// stopped checks what every stop has to do: the exit code, one line that says why, Windows started.
func (b *bench) stopped(code, want int, words ...string) {
	b.t.Helper()
	if code != want {
		b.t.Errorf("exit code %d, want %d", code, want)
	}
	if !b.handed {
		b.t.Error("Windows was not started")
	}
	var lines []string
	for line := range strings.Lines(b.out.String()) {
		if strings.HasPrefix(line, "deploy: stopped: ") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 {
		b.t.Fatalf("%d lines say why it stopped, want 1", len(lines))
	}
	for _, w := range append(words, advice(want)) {
		if !strings.Contains(lines[0], w) {
			b.t.Errorf("the line %q does not say %q", lines[0], w)
		}
	}
}

func TestDeployNow(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	if code := b.run(); code != exitDone || !b.handed {
		t.Fatalf("exit code %d, handed over %t", code, b.handed)
	}
	b.holds(b.v2)
	b.withTarget(func(tg *target.Target) {
		m, _, err := tg.Open()
		b.must(err)
		if s := m.State(); s.Layers != 0 || s.Version != 2 || s.BaseVersion != 2 {
			t.Errorf("state after policy now: %+v", s)
		}
	})
	before := b.digest()
	if code := b.run(); code != exitDone || !b.handed {
		t.Fatalf("second run: exit code %d, handed over %t", code, b.handed)
	}
	if b.digest() != before {
		t.Error("a run with nothing to do wrote to the disk")
	}
}

func TestDeployLazyMergesWhenHealthy(t *testing.T) {
	b := newBench(t, protocol.MergeLazy)
	if code := b.run(); code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	b.holds(b.v2)
	if code := b.run(); code != exitDone || !strings.Contains(b.out.String(), "not seen healthy") {
		t.Fatalf("exit code %d; the version was taken for healthy without Windows having run", code)
	}
	b.withTarget(func(tg *target.Target) {
		m, _, err := tg.Open()
		b.must(err)
		if s := m.State(); s.Layers != 1 || s.BaseVersion != 1 {
			t.Errorf("state after policy lazy: %+v", s)
		}
	})
}

func TestMissingServer(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.url = "http://127.0.0.1:1" // reserved: nobody listens there
	before := b.digest()
	b.stopped(b.run(), exitUntouched, "127.0.0.1:1", "connection refused")
	if b.digest() != before {
		t.Error("the disk was written to")
	}
}

func TestWrongHashInTable(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.damage(".table")
	before := b.digest()
	b.stopped(b.run(), exitUntouched, "table")
	if b.digest() != before {
		t.Error("the disk was written to")
	}
}

// A wrong chunk is found while the inactive slot is being filled: nothing but that slot and the journal may differ.
func TestWrongHashInPack(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.damage(".pack")
	before := b.digest(prepare.LayerA, prepare.LayerB, prepare.Journal)
	b.stopped(b.run(), exitUnfinished, "pack")
	if b.digest(prepare.LayerA, prepare.LayerB, prepare.Journal) != before {
		t.Error("more than the inactive slot was written to")
	}
	b.holds(b.v1)
}

// damage flips a bit in the middle of the objects of version 2 with that ending.
func (b *bench) damage(ending string) {
	b.t.Helper()
	store, err := image.OpenStore(b.store)
	b.must(err)
	m, err := store.Show(b.t.Context(), testImage, 2)
	b.must(err)
	name := map[string]string{".table": m.Table.Name, ".pack": m.Pack.Name}[ending]
	path := filepath.Join(b.store, filepath.FromSlash(name))
	data, err := os.ReadFile(path)
	b.must(err)
	data[len(data)/2] ^= 0x10
	b.must(os.Chmod(path, 0o644))
	b.must(os.WriteFile(path, data, 0o644))
}

func TestParentChanged(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.withTarget(func(tg *target.Target) {
		files, err := tg.MapFiles()
		b.must(err)
		h, slot, err := vhdx.ReadHeaders(files.Base.Storage)
		b.must(err)
		h.DataWriteGUID = vhdx.NewGUID()
		h.SequenceNumber++
		_, err = files.Base.WriteAt(h.Marshal(), []int64{vhdx.Header2Offset, vhdx.Header1Offset}[slot])
		b.must(err)
	})
	before := b.digest()
	b.stopped(b.run(), exitUntouched, "DataWriteGuid", "base.vhdx")
	if b.digest() != before {
		t.Error("the disk was written to")
	}
}

func TestSparseFile(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.onVolume(func(root string) {
		name := filepath.Join(root, "Troy", "base.vhdx")
		b.must(os.Remove(name))
		f, err := os.Create(name)
		b.must(err)
		b.must(f.Truncate(diskwriter.BaseSize(testVirtual)))
		b.must(f.Close())
	})
	before := b.digest()
	b.stopped(b.run(), exitUntouched, "base.vhdx", ntfs.ErrSparse.Error())
	if b.digest() != before {
		t.Error("the disk was written to")
	}
}

func TestFileNotWrittenToItsEnd(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.onVolume(func(root string) { b.must(os.Remove(filepath.Join(root, "Troy", "layer-a.vhdx"))) })
	b.onVolume(func(root string) { b.must(os.WriteFile(filepath.Join(root, "Troy", "layer-a.vhdx"), nil, 0o644)) })
	b.onPartition(func(part string) {
		out, err := exec.Command("ntfsfallocate", "-l", "8388608", part, "Troy/layer-a.vhdx").CombinedOutput()
		if err != nil {
			b.t.Fatalf("ntfsfallocate: %v: %s", err, out)
		}
	})
	before := b.digest()
	b.stopped(b.run(), exitUntouched, "layer-a.vhdx", ntfs.ErrValidLength.Error())
	if b.digest() != before {
		t.Error("the disk was written to")
	}
}

func TestHibernatedVolume(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.onVolume(func(root string) {
		b.must(os.WriteFile(filepath.Join(root, "hiberfil.sys"), append([]byte("hibr"), make([]byte, 8188)...), 0o644))
	})
	before := b.digest()
	b.stopped(b.run(), exitUntouched, ntfs.ErrHibernated.Error())
	if b.digest() != before {
		t.Error("the disk was written to")
	}
}

func TestTwoPreparedDisks(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	twin := filepath.Join(b.dir, "twin.img")
	data, err := os.ReadFile(b.disk)
	b.must(err)
	b.must(os.WriteFile(twin, data, 0o644))
	_, err = target.Find([]string{b.disk, twin})
	if !errors.Is(err, target.ErrAmbiguous) {
		t.Errorf("Find(two prepared disks) = %v, want %v", err, target.ErrAmbiguous)
	}
}

// onPartition copies the data partition out, lets f change the copy, and puts it back.
func (b *bench) onPartition(f func(path string)) {
	b.t.Helper()
	dev, err := blockdev.Open(b.disk, &blockdev.Options{ReadOnly: true})
	b.must(err)
	table, err := dev.ReadTable()
	b.must(err)
	b.must(dev.Close())
	e := table.ByType(blockdev.TypeBasicData)[0]
	disk, err := os.OpenFile(b.disk, os.O_RDWR, 0)
	b.must(err)
	defer disk.Close()
	data := make([]byte, e.Size)
	_, err = disk.ReadAt(data, e.Start)
	b.must(err)
	part := filepath.Join(b.dir, "partition")
	b.must(os.WriteFile(part, data, 0o644))
	f(part)
	data, err = os.ReadFile(part)
	b.must(err)
	_, err = disk.WriteAt(data, e.Start)
	b.must(err)
}

// onVolume lets f work on the mounted data volume.
func (b *bench) onVolume(f func(root string)) {
	b.t.Helper()
	b.onPartition(func(part string) {
		root := filepath.Join(b.dir, "mnt")
		b.must(os.MkdirAll(root, 0o755))
		if out, err := exec.Command("ntfs-3g", part, root).CombinedOutput(); err != nil {
			b.t.Fatalf("ntfs-3g: %v: %s", err, out)
		}
		defer func() {
			if out, err := exec.Command("umount", root).CombinedOutput(); err != nil {
				b.t.Errorf("umount: %v: %s", err, out)
			}
		}()
		f(root)
	})
}

func TestParseKernel(t *testing.T) {
	var o options
	err := o.parseKernel("quiet troy.server=http://10.0.0.1 console=ttyS0 troy.ip=10.0.0.7/24 troy.shell troy.disk=/dev/sdb\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(o.net.Servers) != 1 || o.net.Servers[0] != "http://10.0.0.1" || o.net.Static == nil || !o.shell || o.disk != "/dev/sdb" {
		t.Errorf("parseKernel gives %+v", o)
	}
	if err := o.parseKernel("troy.ip=nonsense"); err == nil {
		t.Error("parseKernel takes an address that is none")
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-nonsense"}, {"word"}, {"-ip", "nonsense"}} {
		var out bytes.Buffer
		if code := run(args, &out); code != exitUsage {
			t.Errorf("run(%q) = %d, want %d; it said %s", args, code, exitUsage, out.String())
		}
	}
}

func TestPartitionPath(t *testing.T) {
	for _, c := range []struct {
		disk string
		n    int
		want string
	}{{"/dev/sda", 1, "/dev/sda1"}, {"/dev/nvme0n1", 3, "/dev/nvme0n1p3"}, {"/dev/mmcblk0", 2, "/dev/mmcblk0p2"}, {"/dev/vdb", 10, "/dev/vdb10"}} {
		if got := partitionPath(c.disk, c.n); got != c.want {
			t.Errorf("partitionPath(%q, %d) = %q, want %q", c.disk, c.n, got, c.want)
		}
	}
}

// A start that was cut off after the stage, or after the commit, is finished by the next one without fetching again.
func TestCutOffStart(t *testing.T) {
	for name, commit := range map[string]bool{"before the commit": false, "after the commit": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, protocol.MergeNow)
			b.stageVersion2(commit)
			if code := b.run(); code != exitDone {
				t.Fatalf("exit code %d", code)
			}
			if strings.Contains(b.out.String(), "fetch") {
				t.Error("it fetched again what was staged")
			}
			b.holds(b.v2)
			b.withTarget(func(tg *target.Target) {
				m, _, err := tg.Open()
				b.must(err)
				if s := m.State(); s.Layers != 0 {
					t.Errorf("not merged: %+v", s)
				}
			})
		})
	}
}

// stageVersion2 does what the agent does up to its stage or its commit.
func (b *bench) stageVersion2(commit bool) {
	b.t.Helper()
	store, err := image.OpenStore(b.store)
	b.must(err)
	plan, err := image.LoadPlan(b.t.Context(), store, testImage, 1, 2)
	b.must(err)
	b.withTarget(func(tg *target.Target) {
		m, _, err := tg.Open()
		b.must(err)
		stager, err := m.Stage(b.t.Context(), &diskwriter.StageRequest{Image: testImage, Version: 2, Runs: stageRuns(plan)})
		b.must(err)
		_, err = plan.Fetch(b.t.Context(), store, stager, &image.FetchOptions{SkipZeros: true})
		b.must(err)
		b.must(stager.Finish(b.t.Context()))
		if commit {
			b.must(m.Commit(b.t.Context()))
		}
	})
}
