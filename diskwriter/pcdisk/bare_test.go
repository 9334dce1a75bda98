package pcdisk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/internal/errline"
	"troy/internal/testing/diskfile"
	"troy/internal/testing/needs"
)

func bareOptions() *BareOptions {
	return &BareOptions{Image: "lab", Version: 4, VirtualSize: virtual, ESPSize: 40 * mib, SlotBytes: 2 * mib}
}

// content is a version that is random in parts, zero in parts, and undefined in parts.
type content struct {
	data   []byte
	runs   []machine.Run
	failAt int64   // Fetch fails there; 0: never
	less   bool    // Fetch leaves the last page out
	asked  []int64 // where Fetch began
}

func newContent(seed uint64) *content {
	r := rand.New(rand.NewPCG(seed, 2))
	c := &content{data: make([]byte, virtual)}
	for off := int64(0); off < virtual; {
		n := min(virtual-off, (1+r.Int64N(200))*4096)
		run := machine.Run{Offset: off, Length: n}
		switch r.IntN(4) {
		case 0:
			run.Zero = true
			c.runs = append(c.runs, run)
		case 1: // undefined
		default:
			for i := off; i < off+n; i++ {
				c.data[i] = byte(r.Uint32() | 1)
			}
			if r.IntN(3) == 0 { // zeros that were not announced
				clear(c.data[off : off+n])
			}
			c.runs = append(c.runs, run)
		}
		off += n
	}
	return c
}

func (c *content) Size() int64         { return virtual }
func (c *content) Runs() []machine.Run { return c.runs }

var errFetch = errors.New("the network is gone")

func (c *content) Fetch(ctx context.Context, from, to int64, sink io.WriterAt) error {
	c.asked = append(c.asked, from)
	for _, r := range c.runs {
		start, end := max(from, r.Offset), min(to, r.Offset+r.Length)
		for ; !r.Zero && start < end; start += 64 << 10 {
			n := min(64<<10, end-start)
			if c.failAt > 0 && start+n > c.failAt {
				return errFetch
			}
			if c.less && start+n >= to-mib {
				continue
			}
			if _, err := sink.WriteAt(c.data[start:start+n], start); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// defined compares what is shown with what the version defines.
func (c *content) defined(t *testing.T, have []byte) {
	t.Helper()
	for _, r := range c.runs {
		for off := r.Offset; off < r.Offset+r.Length; off += 4096 {
			if !bytes.Equal(have[off:off+4096], c.data[off:off+4096]) {
				t.Fatalf("page at %d is wrong (run %+v)", off, r)
			}
		}
	}
}

// provisionOnce is what an agent does at one start.
func provisionOnce(ctx context.Context, path string, c *content, sector int) error {
	t, r, err := resumeOrBegin(ctx, path, sector)
	if errors.Is(err, errNothing) {
		return nil // killed when all was done
	}
	if err != nil {
		return err
	}
	defer t.Close()
	if err := t.Fill(ctx, r, c, &FillOptions{pieceBytes: mib}); err != nil {
		return err
	}
	return r.Finish(ctx)
}

var errNothing = errors.New("nothing to do")

func resumeOrBegin(ctx context.Context, path string, sector int) (*Target, *machine.Reinstaller, error) {
	d, err := Describe(path, nil)
	if err != nil {
		return nil, nil, err
	}
	if d.Holding == Prepared {
		t, err := Find([]string{path})
		if err != nil {
			return nil, nil, err
		}
		m, _, err := t.Open()
		if err == nil && !m.State().Reinstalling {
			err = errNothing
		}
		if err != nil {
			return nil, nil, errline.Join(err, t.Close())
		}
		r, err := machine.Reinstall(ctx, t.Files(), &machine.ReinstallRequest{Image: "lab", Version: 4})
		return t, r, err
	}
	o := bareOptions()
	o.SectorSize = sector
	if d, o.Wipe, err = Choose([]DiskInfo{d}, &Order{Need: o.Need(), SectorSize: uint32(sector)}); err != nil {
		return nil, nil, err
	}
	if o.Wipe {
		return nil, nil, errors.New("a disk that holds something was chosen")
	}
	return ProvisionBare(ctx, d.Path, o)
}

// bareDisk is an image file whose ends are zeros and whose middle is full of old bytes.
func bareDisk(t *testing.T, size int64) string {
	t.Helper()
	path := oldDisk(t, int(size))
	z, err := newZeroer(path)
	must(t, err)
	must(t, errline.Join(z.Zero(0, mib), z.Zero(size-mib, mib), z.Close()))
	return path
}

// check lets other people's tools look at a disk.
func check(t *testing.T, path string, sector int) {
	t.Helper()
	d, err := Look(path, &blockdev.Options{ReadOnly: true})
	must(t, err)
	defer d.Close()
	run := func(name string, args ...string) string {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	if sector == 512 { // sgdisk takes 512 for every file
		if out := run("sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
			t.Errorf("sgdisk: %s", out)
		}
	}
	esp, part := filepath.Join(t.TempDir(), "esp"), filepath.Join(t.TempDir(), "part")
	must(t, diskfile.Copy(esp, 0, path, diskfile.Range{Offset: d.ESP.Start, Length: d.ESP.Size}))
	run("fsck.fat", "-n", esp)
	must(t, diskfile.Copy(part, 0, path, diskfile.Range{Offset: d.Data.Start, Length: d.Data.Size}))
	run("ntfsfix", "-n", part)
	if out := run("ntfsinfo", "-m", part); !strings.Contains(out, "Volume Name: Troy") {
		t.Errorf("ntfsinfo: %s", out)
	}
	for _, name := range append(Names(), "") {
		out := run("ntfssecaudit", "-v", part, "/Troy/"+name)
		for _, want := range []string{"Windows owner S-1-5-32-544\n", "Windows group S-1-5-18\n", "mode 0700\n", "No errors were found"} {
			if !strings.Contains(out, want) {
				t.Errorf("the access list of %q lacks %q: %s", name, want, out)
			}
		}
	}
	dir := t.TempDir()
	for _, name := range []string{machine.BaseName, machine.BootName} {
		out, err := exec.Command("ntfscat", "-f", part, "Troy/"+name).Output()
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, name), out, 0o644))
	}
	run("7zz", "t", filepath.Join(dir, machine.BaseName))
	out, err := exec.Command("7zz", "e", "-so", filepath.Join(dir, machine.BaseName)).Output()
	must(t, err)
	if have, _ := shown(t, path); !bytes.Equal(out, have) {
		t.Errorf("7zz reads another disk of %d bytes", len(out))
	}
}

// TestBare makes a machine of a bare image file with sectors of 512 bytes, and of a bare block
// device with 4096, and holds both against other tools.
func TestBare(t *testing.T) {
	needs.Root(t)
	for _, sector := range []int{512, 4096} {
		t.Run(fmt.Sprint(sector), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			o, c := bareOptions(), newContent(seed)
			o.ESPSize, o.SectorSize = map[int]int64{512: 40 * mib, 4096: 300 * mib}[sector], sector
			o.DataSize, o.Key = o.volumeNeed()+3*mib, []byte("key")
			path := bareDisk(t, o.Need()+50*mib)
			device := path
			if sector == 4096 { // a block device knows its sectors
				out, err := exec.Command("losetup", "-f", "--show", "-b", "4096", path).Output()
				must(t, err)
				device, o.SectorSize = strings.TrimSpace(string(out)), 0
				defer exec.Command("losetup", "-d", device).Run()
			}
			d, r, err := ProvisionBare(t.Context(), device, o)
			must(t, err)
			if got := d.Data.Size; got != o.DataSize {
				t.Errorf("the data volume has %d bytes, want %d", got, o.DataSize)
			}
			if d.Data.Attributes != blockdev.AttrNoDriveLetter {
				t.Errorf("attributes %#x", d.Data.Attributes)
			}
			if _, err := Chain(d.Files()); err == nil {
				t.Error("a disk without content shows a chain")
			}
			var done counter
			must(t, d.Fill(t.Context(), r, c, &FillOptions{Progress: &done}))
			must(t, r.Finish(t.Context()))
			j, err := machine.OpenJournal(d.Files().Journal)
			must(t, err)
			if key, err := j.Get(machine.RecordKey); err != nil || string(key) != "key" {
				t.Errorf("the machine's key in the journal: %q, %v", key, err)
			}
			must(t, d.Close())
			have, s := shown(t, path)
			c.defined(t, have)
			if s.Image != "lab" || s.Version != 4 || s.Reinstalling || !s.SlotFree {
				t.Errorf("%+v", s)
			}
			check(t, path, sector)
			d, err = Look(path, &blockdev.Options{ReadOnly: true})
			must(t, err)
			defer d.Close()
			if m, err := unfinishedMark(d.Device); m != nil || err != nil {
				t.Errorf("the mark is still there: %v, %v", m, err)
			}
			if sector == 512 {
				markStays(t, path, d.Table)
			}
		})
	}
}

// TestFillStops: what Fetch leaves out is noticed, and after a failure Fill goes on at the piece
// where it was.
func TestFillStops(t *testing.T) {
	needs.Root(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := newContent(seed)
	path := bareDisk(t, bareOptions().Need())
	c.failAt = virtual / 2
	if err := provisionOnce(t.Context(), path, c, 0); !errors.Is(err, errFetch) {
		t.Fatal(err)
	}
	c.failAt, c.less, c.asked = 0, true, nil
	if err := provisionOnce(t.Context(), path, c, 0); !errors.Is(err, machine.ErrIncomplete) {
		t.Fatal(err)
	}
	if len(c.asked) == 0 || c.asked[0] < virtual/4 || c.asked[0] > virtual/2 {
		t.Errorf("gone on at %d, had failed at %d", c.asked, virtual/2)
	}
	c.less = false
	must(t, provisionOnce(t.Context(), path, c, 0))
	have, _ := shown(t, path)
	c.defined(t, have)
	// Another size is refused before anything is written.
	d, err := Look(path, nil)
	must(t, err)
	defer d.Close()
	must(t, mustAdmit(d))
	r, err := machine.Reinstall(t.Context(), d.Files(), &machine.ReinstallRequest{Image: "lab", Version: 5})
	must(t, err)
	before := d.Written()
	if err := d.Fill(t.Context(), r, &copied{size: virtual + mib}, nil); !errors.Is(err, machine.ErrOtherSize) || d.Written() != before {
		t.Errorf("%v, %d bytes written", err, d.Written()-before)
	}
}

func mustAdmit(d *Target) error {
	_, err := d.Admit()
	return err
}

// Killing is done to a process of its own, which this one becomes when it is told so.
const killEnv = "TROY_TEST_PROVISION"

// TestBareKilled kills the whole process at random moments, until one gets to the end. No state in
// between is a machine that boots, none is foreign to the next start, and the result is right.
func TestBareKilled(t *testing.T) {
	needs.Root(t)
	if path := os.Getenv(killEnv); path != "" {
		var seed uint64
		fmt.Sscan(os.Getenv(killEnv+"_SEED"), &seed)
		c := newContent(seed)
		must(t, provisionOnce(t.Context(), path, c, 0))
		fmt.Printf("writes %d\n", writes("self"))
		return
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rounds, kills := 2, 5
	if os.Getenv("TROY_SOAK") == "1" {
		rounds, kills = 50, 20
	}
	out, done := provisionKilled(t, bareDisk(t, bareOptions().Need()), seed, 1<<60)
	var whole int64
	if _, err := fmt.Sscanf(out[strings.Index(out, "writes "):], "writes %d", &whole); err != nil || !done {
		t.Fatalf("%v, %t: %s", err, done, out)
	}
	r := rand.New(rand.NewPCG(seed, 3))
	found := map[Holding]int{}
	for round := range rounds {
		path := bareDisk(t, bareOptions().Need())
		for n := 0; ; n++ {
			after := r.Int64N(whole)
			switch n {
			case 0:
				after = whenMarked
			case kills:
				after = 1 << 60
			}
			if _, done := provisionKilled(t, path, seed, after); done {
				break
			}
			d, err := Describe(path, nil)
			must(t, err)
			found[d.Holding]++
			if d.Holding == Occupied || d.Holding == Unknown {
				t.Fatalf("round %d: the disk is foreign: %s", round, d.Detail)
			}
			if found, err := Find([]string{path}); (err == nil) != (d.Holding == Prepared) {
				t.Fatalf("round %d: a disk that is %s is found: %t, %v", round, d.Detail, found != nil, err)
			} else if found != nil {
				must(t, found.Close())
			}
		}
		have, s := shown(t, path)
		newContent(seed).defined(t, have)
		if s.Version != 4 || s.Reinstalling {
			t.Errorf("%+v", s)
		}
		if round == 0 {
			check(t, path, 512)
		}
	}
	t.Logf("killed while it was bare %d times, without content %d times, while it was filled %d times", found[Bare], found[Unfinished], found[Prepared])
}

// writes returns how many writes a process has done.
func writes(pid string) int64 {
	b, err := os.ReadFile("/proc/" + pid + "/io")
	if err != nil {
		return 0
	}
	var n int64
	if _, rest, ok := strings.Cut(string(b), "syscw: "); ok {
		fmt.Sscan(rest, &n)
	}
	return n
}

// whenMarked kills the helper some milliseconds after the mark is on the disk.
const whenMarked = -1

func marked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, 8)
	_, err = f.ReadAt(b, mib-4096)
	return err == nil && string(b) == "TROYMARK"
}

// provisionKilled runs the helper, kills it after so many writes, and tells whether it came to its
// end before.
func provisionKilled(t *testing.T, path string, seed uint64, after int64) (string, bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestBareKilled$")
	cmd.Env = append(os.Environ(), killEnv+"="+path, fmt.Sprintf("%s_SEED=%d", killEnv, seed), "TMPDIR="+t.TempDir())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	pid := fmt.Sprint(cmd.Process.Pid)
	for {
		select {
		case err := <-ended:
			var exit *exec.ExitError
			if err != nil && (!errors.As(err, &exit) || exit.Exited()) {
				t.Fatalf("%v: %s", err, out.String())
			}
			return out.String(), err == nil
		case <-time.After(100 * time.Microsecond):
			switch {
			case after == whenMarked && marked(path):
				time.Sleep(time.Duration(rand.IntN(80)) * time.Millisecond)
				cmd.Process.Kill()
			case after >= 0 && writes(pid) >= after:
				cmd.Process.Kill()
			}
		}
	}
}
