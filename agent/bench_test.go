package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"troy/chainload"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/testing/diskfile"
	"troy/internal/testing/fixture"
	"troy/internal/testing/needs"
	"troy/netfetch/params"
	"troy/server/protocol"
	"troy/vhdx"
)

const (
	testImage   = "test-image"
	testVirtual = 24 << 20
)

// bench is a store with two versions, a server, and the disk of a PC that holds version 1.
type bench struct {
	t        *testing.T
	dir      string
	store    string
	disk     string
	v1, v2   string
	url      string
	dmi      string
	media    string       // what the boot media carry
	setup    bool         // the setup of version 2 is pending
	handed   bool         // the machine was given to Windows
	esp      string       // stands for the ESP
	firmware fstest.MapFS // its variables; nil: those of this machine
	out      bytes.Buffer

	orders   fixedOrders
	mirrors  []string // asked before url
	slept    []time.Duration
	manifest string           // that orders name; "" = that of the store
	served   string           // folder of the store behind url
	protocol int              // that the server speaks, and no other one; 0 = as it does
	servers  string           // list of servers that orders name; "" = none
	peers    []string         // keys that checked in
	checkIn  protocol.CheckIn // the last one
	reports  []protocol.Report
	shown    wall             // pages of starts that are watched
	machine  func() time.Time // the PC's clock; nil = the kernel's
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
	needs.Root(t)
	b := newBenchIn(t, filepath.Join(template, "made"))
	if _, err := os.Stat(b.dir); err != nil {
		b.must(os.Mkdir(b.dir, 0o755))
		b.must(os.MkdirAll(b.dmi, 0o755))
		b.must(os.Mkdir(b.media, 0o755))
		b.must(os.WriteFile(filepath.Join(b.dmi, "product_uuid"), []byte("4C4C4544-0042-3510-8054-B4C04F564231\n"), 0o644))
		b.makeVersions()
		b.publish()
		b.makePC(1, b.v1)
	}
	made := b.dir
	b = newBenchIn(t, filepath.Join(t.TempDir(), "bench"))
	if out, err := exec.Command("cp", "-r", "--sparse=always", made, b.dir).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	b.orders = fixedOrders{Image: testImage, Version: 2, Rules: protocol.Rules{Merge: merge}}
	b.url = b.serve(b.store)
	return b
}

func newBenchIn(t *testing.T, dir string) *bench {
	in := func(name string) string { return filepath.Join(dir, name) }
	return &bench{t: t, dir: dir, store: in("store"), disk: in("pc.img"), dmi: in("sys/class/dmi/id"), media: in("media"), esp: in("esp"), v1: in("v1.raw"), v2: in("v2.raw")}
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// makeVersions writes two raw images: random data with gaps, and the same with pages changed at
// random places.
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
	putFields(disk, fieldsAt[0])
	b.must(os.WriteFile(b.v1, disk, 0o644))
	for range 40 {
		fill(r.IntN(testVirtual-64<<10), 1+r.IntN(64<<10))
	}
	for range 3 { // moved files
		to, from := r.IntN(testVirtual>>12-64)<<12, r.IntN(testVirtual>>12-64)<<12
		copy(disk[to:to+64<<12], disk[from:from+64<<12])
	}
	zero := r.IntN(testVirtual - 3<<20)
	clear(disk[zero : zero+3<<20])
	fill(0, 1)
	fill(testVirtual-1, 1)
	putFields(disk, fieldsAt[1])
	b.must(os.WriteFile(b.v2, disk, 0o644))
}

func (b *bench) publish() {
	pair, err := fixture.MakePair(b.dir, &fixture.Windows{V1: b.v1, V2: b.v2})
	b.must(err)
	store, err := publish.Init(b.store)
	b.must(err)
	open := func(path string) *vhdx.Chain {
		c, err := vhdx.OpenChain(path, &vhdx.ChainOptions{Parents: &vhdx.Parents{}})
		b.must(err)
		b.t.Cleanup(func() { c.Close() })
		return c
	}
	_, err = publish.Import(b.t.Context(), store, testImage, publish.ChainDisk(open(pair.Base)), &publish.Options{Fields: b.fields(1)})
	b.must(err)
	_, err = publish.Add(b.t.Context(), store, testImage, publish.ChainDisk(open(pair.Child)), &publish.Options{Setup: b.setup, Fields: b.fields(2)})
	b.must(err)
	repo, err := sign.Init(b.store, time.Now(), nil)
	b.must(err)
	_, err = repo.SignAll(b.t.Context(), store, time.Now())
	b.must(err)
	b.signServers(trust.Server{Key: b.keyName(filepath.Join(b.dir, "server.key"))})
	root, err := repo.Root()
	b.must(err)
	b.must(os.WriteFile(filepath.Join(b.media, "root.json"), root, 0o644))
	b.carryServers()
}

// makePC makes the disk of a PC that holds a version of the store.
func (b *bench) makePC(version int, raw string) {
	b.t.Helper()
	b.must(fixture.MakePC(b.t.Context(), b.disk, &fixture.PCOptions{Image: testImage, Version: version, Raw: raw, Store: b.store, SlotBytes: testVirtual}))
}

// manifestOf is the hash by which the store that is served names a version.
func (b *bench) manifestOf(name string, version int) string {
	b.t.Helper()
	store, err := image.OpenStore(b.served)
	b.must(err)
	m, err := store.Show(b.t.Context(), name, version)
	if err != nil {
		return protocol.NoVersion
	}
	return m.SHA256.String()
}

// fixedOrders are what the server says to every machine.
type fixedOrders struct {
	Image   string
	Version int
	Rules   protocol.Rules
	Permits protocol.Permits
	Verify  *protocol.Verify
	End     *protocol.EndSetup
	Contact string
	Code    string
	Room    string
	Own     *protocol.Identity
}

// Order implements server.Orders.
func (b *bench) Order(_ context.Context, peer protocol.Peer, in protocol.CheckIn) (protocol.Order, error) {
	b.peers, b.checkIn = append(b.peers, peer.Key), in
	f := &b.orders
	o := protocol.Order{
		Protocol: protocol.Version, Time: time.Now(), Want: &protocol.Want{Image: f.Image, Version: f.Version, Manifest: cmp.Or(b.manifest, b.manifestOf(f.Image, f.Version))}, Repo: protocol.PathRepo,
		Rules: f.Rules, Permits: f.Permits, Servers: b.servers, Name: "pc-01", Verify: f.Verify, EndSetup: f.End, Contact: f.Contact, Code: f.Code, Room: f.Room, Identity: f.Own,
	}
	if in.Image == f.Image && in.Version == f.Version {
		o.Reason = "the machine has this version"
	}
	return o, nil
}

// run runs the agent on the disk image once.
func (b *bench) run() int {
	b.t.Helper()
	b.handed = false
	b.out.Reset()
	code := b.agent().run(b.t.Context())
	b.t.Logf("exit code %d\n%s", code, b.out.String())
	return code
}

// agent is one that hands over to nothing, and does not sleep.
func (b *bench) agent() *agent {
	a := newAgent(&Options{Running: true, Net: params.Network{Servers: append(b.mirrors, b.url)}, Disk: b.disk, sys: filepath.Join(b.dir, "sys"),
		media: b.media, now: b.machine, patience: 2 * time.Second}, &b.out)
	a.win.toWindows = func(context.Context) (chainload.Method, error) { b.handed = true; return chainload.ByBootNext, nil }
	a.win.reset = func() error { return nil }
	a.boot.onESP = func(do func(root string, writable func() error) error) error {
		b.must(os.MkdirAll(b.esp, 0o755))
		return do(b.esp, func() error { return nil })
	}
	if b.firmware != nil {
		a.boot.vars = b.firmware
	}
	a.sleep = func(ctx context.Context, d time.Duration) error {
		b.slept = append(b.slept, d)
		return context.Cause(ctx)
	}
	return a
}

// digest hashes the whole disk, or the disk without the clusters of the named files.
func (b *bench) digest(without ...string) uint64 {
	b.t.Helper()
	var clusters []diskfile.Range
	if len(without) > 0 {
		b.withTarget(func(t *pcdisk.Target) {
			part, err := t.Device.Partition(t.Data)
			b.must(err)
			volume, err := ntfs.Open(part, part.Size())
			b.must(err)
			for _, name := range without {
				f, err := volume.Map(part, pcdisk.Folder+name)
				b.must(err)
				m := f.Mapping()
				for _, r := range m.Runs {
					clusters = append(clusters, diskfile.Range{Offset: part.Start() + r.LCN*int64(m.ClusterSize), Length: r.Length * int64(m.ClusterSize)})
				}
			}
		})
	}
	sum, err := diskfile.Sum(b.disk, clusters...)
	b.must(err)
	return sum
}

func (b *bench) withTarget(f func(*pcdisk.Target)) {
	b.t.Helper()
	t, err := pcdisk.Find([]string{b.disk})
	b.must(err)
	defer t.Close()
	f(t)
}

// holds compares what Windows would see with a raw image.
func (b *bench) holds(raw string) {
	b.t.Helper()
	want, err := os.ReadFile(raw)
	b.must(err)
	b.withTarget(func(t *pcdisk.Target) {
		_, _, err := t.Open()
		b.must(err)
		chain, err := pcdisk.Chain(t.Files())
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
	b.said("stopped", code, want, words...)
}

// waits checks the same of a machine that waits for the admin: for a permit, or lab.yaml.
func (b *bench) waits(code int, words ...string) {
	b.t.Helper()
	b.said("waiting", code, ExitUntouched, append(words, "waits for ")...)
}

func (b *bench) said(how string, code, want int, words ...string) {
	b.t.Helper()
	if code != want {
		b.t.Errorf("exit code %d, want %d", code, want)
	}
	if !b.handed {
		b.t.Error("Windows was not started")
	}
	var lines []string
	for line := range strings.Lines(b.out.String()) {
		if strings.HasPrefix(line, "deploy: "+how+": ") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 {
		b.t.Fatalf("%d lines say why (%s), want 1", len(lines), how)
	}
	for _, w := range append(words, advice(want)) {
		if !strings.Contains(lines[0], w) {
			b.t.Errorf("the line %q does not say %q", lines[0], w)
		}
	}
}

// damage flips a bit in the middle of the objects of version 2 with that ending.
func (b *bench) damage(ending string) { b.t.Helper(); b.damageVersion(2, ending) }

func (b *bench) damageVersion(version int, ending string) {
	b.t.Helper()
	store, err := image.OpenStore(b.store)
	b.must(err)
	m, err := store.Show(b.t.Context(), testImage, version)
	b.must(err)
	name := map[string]string{".table": m.Table.Name, ".pack": m.Pack.Name}[ending]
	path := filepath.Join(b.store, filepath.FromSlash(name))
	data, err := os.ReadFile(path)
	b.must(err)
	data[len(data)/2] ^= 0x10
	b.must(os.Chmod(path, 0o644))
	b.must(os.WriteFile(path, data, 0o644))
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
	part := filepath.Join(b.dir, "partition")
	b.must(diskfile.Copy(part, 0, b.disk, diskfile.Range{Offset: e.Start, Length: e.Size}))
	f(part)
	b.must(diskfile.Copy(b.disk, e.Start, part, diskfile.Range{Length: e.Size}))
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

// stageVersion2 does what the agent does up to its stage or its commit.
func (b *bench) stageVersion2(commit bool) {
	b.t.Helper()
	store, err := image.OpenStore(b.store)
	b.must(err)
	plan, err := image.LoadPlan(b.t.Context(), store, testImage, 1, 2)
	b.must(err)
	b.withTarget(func(tg *pcdisk.Target) {
		m, _, err := tg.Open()
		b.must(err)
		stager, err := m.Stage(b.t.Context(), &machine.StageRequest{Image: testImage, Version: 2, Manifest: b.manifestOf(testImage, 2), Runs: stageRuns(plan)})
		b.must(err)
		_, err = plan.Fetch(b.t.Context(), store, stager, &image.FetchOptions{SkipZeros: true})
		b.must(err)
		b.must(stager.Finish(b.t.Context()))
		if commit {
			b.must(m.Commit(b.t.Context()))
		}
	})
}
