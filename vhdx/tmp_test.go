package vhdx

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func md(t *testing.T, c *Chain) string {
	h := md5.New()
	if _, err := io.Copy(h, io.NewSectionReader(c, 0, c.Size())); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
func TestTmp(t *testing.T) {
	for _, n := range []string{"fat-parent", "fat-differential", "ext2", "ntfs-dynamic", "iotest-dynamic-1G", "vhdx-log-replay"} {
		c, err := OpenChain("/tmp/w/vhdx/"+n+".vhdx", &ChainOptions{Resolve: FolderResolver("/tmp/w/vhdx")})
		if err != nil {
			t.Fatal(n, err)
		}
		t.Log(n, md(t, c), c.Files()[0].LogPending())
		k := 0
		for e, err := range c.Extents(0, c.Size()) {
			if err != nil {
				t.Fatal(err)
			}
			k++
			if k < 6 {
				t.Logf("%+v", e)
			}
		}
		c.Close()
	}
}
func TestTmpW(t *testing.T) {
	d := t.TempDir()
	for _, k := range []Kind{Dynamic, Fixed} {
		p := filepath.Join(d, k.String()+".vhdx")
		f, err := Create(p, &CreateOptions{Size: 100 << 20, Kind: k})
		if err != nil {
			t.Fatal(err)
		}
		c, _ := NewChain(f)
		m := make([]byte, 100<<20)
		r := rand.New(rand.NewSource(1))
		for i := 0; i < 50; i++ {
			off := r.Intn(100<<20 - 100000)
			b := make([]byte, r.Intn(100000))
			r.Read(b)
			copy(m[off:], b)
			if _, err := c.WriteAt(b, int64(off)); err != nil {
				t.Fatal(err)
			}
		}
		g := make([]byte, len(m))
		c.ReadAt(g, 0)
		if !bytes.Equal(g, m) {
			t.Fatal("x")
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("qemu-img", "check", p).CombinedOutput()
		t.Logf("%s %v", out, err)
		out, err = exec.Command("7zz", "x", "-so", "-tvhdx", p).Output()
		t.Log(bytes.Equal(out, m), err)
		os.Remove(p + ".raw")
		out, err = exec.Command("qemu-img", "convert", "-O", "raw", p, p+".raw").CombinedOutput()
		g, _ = os.ReadFile(p + ".raw")
		t.Log(bytes.Equal(g, m), string(out), err)
		// child
		pf, err := Open(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		cp := filepath.Join(d, k.String()+"-c.vhdx")
		cf, err := Create(cp, &CreateOptions{Kind: Differencing, Parent: pf, ParentPath: `.\` + k.String() + ".vhdx"})
		if err != nil {
			t.Fatal(err)
		}
		cc, err := NewChain(cf, pf)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < 50; i++ {
			off := r.Intn(100<<20 - 100000)
			b := make([]byte, r.Intn(100000))
			r.Read(b)
			copy(m[off:], b)
			if _, err := cc.WriteAt(b, int64(off)); err != nil {
				t.Fatal(err)
			}
		}
		if err := cc.ZeroRange(10<<20, 7<<20+13); err != nil {
			t.Fatal(err)
		}
		clear(m[10<<20 : 17<<20+13])
		cc.ReadAt(g, 0)
		if !bytes.Equal(g, m) {
			t.Fatal("x")
		}
		cc.Close()
		out, err = exec.Command("7zz", "x", "-so", "-tvhdx", cp).Output()
		t.Log(bytes.Equal(out, m), err)
	}
}
