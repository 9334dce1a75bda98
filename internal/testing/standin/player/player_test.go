package player_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/internal/testing/diskfile"
	"troy/internal/testing/medium"
	"troy/internal/testing/standin/player"
	"troy/trial/inside"
	"troy/vhdx"
)

// A Windows from its first start to one whose power is cut.
func TestLife(t *testing.T) {
	t.Parallel()
	raw, on := newRaw(t)
	r := newRig(t, raw, nil)
	r.medium = on
	first := r.order(1)
	before := r.hive()
	for range player.Restarts {
		r.starts(player.Restart, "setup: restart", "closed in order")
		r.closed()
		if !r.pending() || !bytes.Equal(before, r.hive()) {
			t.Error("setup is over before its last restart")
		}
	}
	r.starts(player.PowerOff, "this is the first logon")
	r.closed()
	if r.pending() {
		t.Error("setup is not over after the first logon")
	}
	if n := differing(before, r.hive()); n != 1 {
		t.Errorf("%d pages of the hive differ, so that a power cut could leave a mixture", n)
	}
	got := r.record(first)
	if got.Phase != inside.Desktop || !got.Ballast.One(1) || !got.PC.Windows.StandIn || got.PC.Windows.Edition != "Professional" ||
		got.PC.Windows.Build != medium.Build || got.Name != "STAND-IN" || got.PC.Model != "image file" {
		t.Errorf("the first logon left %+v", got)
	}
	r.orders()
	r.cut()
}

// orders tries those that end in order.
func (r *rig) orders() {
	r.t.Helper()
	o := r.order(7, inside.Fill, inside.Retrim, inside.Disks)
	r.starts(player.PowerOff, "phase up")
	r.closed()
	got := r.record(o)
	if got.Phase != inside.Up || !got.Ballast.One(1) || !slices.Equal(got.Did, []inside.Action{inside.Fill}) || len(got.Failed) != 2 {
		r.t.Errorf("the order to fill left %+v", got)
	}
	if s := r.stamps(); !s.One(7) {
		r.t.Errorf("the ballast holds %s", s)
	}
	o = r.order(7, inside.Stuff)
	r.starts(player.PowerOff, "free clusters are overwritten")
	r.closed()
	if got := r.record(o); !slices.Equal(got.Did, o.Do) || !got.Ballast.One(7) {
		r.t.Errorf("the order to stuff left %+v", got)
	}
	r.stuffed()
}

// stuffed looks for a free cluster of zeros, and at the files.
func (r *rig) stuffed() {
	r.t.Helper()
	drive := filepath.Join(r.dir, "drive")
	r.must(r.medium.Fill(drive))
	r.outside(func(_ ntfs.Verdict, v *ntfs.Volume, chain *vhdx.Chain) {
		list, err := blockdev.Volumes(chain, chain.Size(), 512)
		r.must(err)
		free, err := v.FreeRuns()
		r.must(err)
		cluster := make([]byte, v.Geometry().ClusterSize)
		for _, run := range free {
			for lcn := run.LCN; lcn < run.LCN+run.Length; lcn++ {
				_, err := chain.ReadAt(cluster, list[0].Start+lcn*int64(len(cluster)))
				r.must(err)
				if bytes.Count(cluster, []byte{0}) == len(cluster) {
					r.t.Fatalf("cluster %d is zero", lcn)
				}
			}
		}
		matches, err := filepath.Glob(filepath.Join(drive, "Windows/System32/*.*"))
		r.must(err)
		if len(matches) < 10 {
			r.t.Errorf("%d files of content", len(matches))
		}
		for _, path := range matches {
			want, err := os.ReadFile(path)
			r.must(err)
			f, err := v.OpenFile(`\Windows\System32\` + filepath.Base(path))
			r.must(err)
			have, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
			r.must(err)
			if !bytes.Equal(have, want) {
				r.t.Errorf("%s is another", path)
			}
		}
	})
}

// cut cuts the power while Windows writes; the next start repairs.
func (r *rig) cut() {
	r.t.Helper()
	o := r.order(7, inside.Stay)
	if end := r.start("staying"); end != player.Hang {
		r.t.Fatalf("the order to stay ends in %q", end)
	}
	r.outside(func(host ntfs.Verdict, v *ntfs.Volume, _ *vhdx.Chain) {
		if !host.Dirty || !v.Judge().Dirty {
			r.t.Errorf("a volume is clean although the power was cut: %s, %s", host, v.Judge())
		}
	})
	if got := r.record(o); !got.Ballast.One(7) {
		r.t.Errorf("the order to stay left %+v", got)
	}
	if s := r.stamps(); s.Strange > 0 || s.Low != 7 || s.High != inside.StayStamp {
		r.t.Errorf("the ballast holds %s", s)
	}
	r.order(9)
	r.starts(player.PowerOff, "the PC's own volume was not closed", "the volume was not closed")
	r.closed()
	r.disc = ""
	r.starts(player.PowerOff, "no order: there is no CD drive")
	r.closed()
}

func differing(a, b []byte) (n int) {
	for at := 0; at < len(a); at += ntfs.PageSize {
		if !bytes.Equal(a[at:][:ntfs.PageSize], b[at:][:ntfs.PageSize]) {
			n++
		}
	}
	return n
}

// What keeps a Windows from coming up is said, and nothing is written.
func TestDoesNotComeUp(t *testing.T) {
	spoil := func(name string) func(root string) error {
		return func(root string) error {
			f, err := os.OpenFile(filepath.Join(root, name), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("spoilt"), 0)
			return errors.Join(err, f.Close())
		}
	}
	raw, _ := newRaw(t)
	for name, c := range map[string]struct {
		change func(root string) error
		want   string
	}{
		"loader":    {spoil("Windows/System32/winload.efi"), "winload.efi is no program"},
		"hive":      {spoil("Windows/System32/config/SYSTEM"), `config\SYSTEM: regf: base block`},
		"no hive":   {func(root string) error { return os.Remove(root + "/Windows/System32/config/SYSTEM") }, "no such file"},
		"answers":   {func(root string) error { return os.Remove(root + "/Windows/Panther/unattend.xml") }, "no answer file"},
		"elsewhere": {func(root string) error { return os.Rename(root+"/Windows", root+"/Winnt") }, "no Windows"},
		"a file":    {spoil("Windows/System32/file0.dll"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, raw, c.change)
			sum, err := diskfile.Sum(r.disk)
			r.must(err)
			if c.want == "" {
				r.starts(player.Restart)
				return
			}
			r.starts(player.Hang, "Windows does not come up: ", c.want)
			if after, err := diskfile.Sum(r.disk); err != nil || after != sum {
				t.Errorf("the disk was written to (%v)", err)
			}
		})
	}
}
