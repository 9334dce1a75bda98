package blockdev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	testDisk = "11111111-2222-3333-4444-555555555555"
	testData = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	diskSize = 20 * mib
)

// newGPT makes a disk with sgdisk: ESP, MSR, data without a letter.
func newGPT(t *testing.T) (path string, content []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "gpt")
	if err := os.WriteFile(path, make([]byte, diskSize), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "sgdisk", "-U", testDisk, "-n", "1:2048:+4M", "-t", "1:ef00", "-c", "1:EFI system partition",
		"-n", "2:0:+1M", "-t", "2:0c01", "-n", "5:0:0", "-t", "5:0700", "-u", "5:"+testData, "-A", "5:set:63", path)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, content
}

func TestReadTable(t *testing.T) {
	path, _ := newGPT(t)
	table, err := open(t, path, nil).ReadTable()
	if err != nil {
		t.Fatal(err)
	}
	if table.Warning != "" || table.DiskGUID.String() != testDisk || len(table.Partitions) != 3 {
		t.Fatalf("%+v", table)
	}
	esp, data := table.Partitions[0], table.Partitions[2]
	if esp.Type != TypeESP || esp.Start != mib || esp.Size != 4*mib || esp.Name != "EFI system partition" || esp.Number != 1 {
		t.Errorf("ESP %+v", esp)
	}
	if data.Type != TypeBasicData || data.GUID.String() != testData || data.Number != 5 || data.Attributes != AttrNoDriveLetter {
		t.Errorf("data %+v", data)
	}
	if got := table.ByType(TypeMSR); len(got) != 1 || got[0].Size != mib {
		t.Errorf("by type: %+v", got)
	}
	out := tool(t, "sgdisk", "-i", "5", path)
	for _, want := range []string{strings.ToUpper(testData), fmt.Sprintf("First sector: %d ", data.Start/512), fmt.Sprintf("Partition size: %d sectors", data.Size/512)} {
		if !strings.Contains(out, want) {
			t.Errorf("sgdisk does not say %q:\n%s", want, out)
		}
	}
}

// gpt is a disk in memory whose GPT can be changed with right checksums.
type gpt []byte

func (g gpt) header(primary bool) []byte {
	if primary {
		return g[512:1024]
	}
	return g[len(g)-512:]
}

func (g gpt) entries(primary bool) []byte {
	return g[binary.LittleEndian.Uint64(g.header(primary)[72:])*512:][:128*128]
}

func (g gpt) seal(primary bool) {
	h, le := g.header(primary), binary.LittleEndian
	le.PutUint32(h[88:], crc32.ChecksumIEEE(g.entries(primary)))
	le.PutUint32(h[16:], 0)
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
}

func TestDamagedTable(t *testing.T) {
	_, content := newGPT(t)
	le := binary.LittleEndian
	both := func(g gpt, f func(h, e []byte)) {
		for _, p := range []bool{true, false} {
			f(g.header(p), g.entries(p))
			g.seal(p)
		}
	}
	for _, c := range []struct {
		name   string
		damage func(g gpt)
		want   string // of the error; "" when the table is still read
		warns  string // of the warning; "" when there is none
	}{
		{"nothing", func(g gpt) {}, "", ""},
		{"primary signature", func(g gpt) { g[512] = 'X' }, "", "primary at LBA 1:"},
		{"primary header checksum", func(g gpt) { g[512+60]++ }, "", "primary at LBA 1:"},
		{"primary entries", func(g gpt) { g.entries(true)[40]++ }, "", "primary at LBA 1:"},
		{"backup entries", func(g gpt) { g.entries(false)[40]++ }, "", "backup at LBA"},
		{"copies differ", func(g gpt) { g.entries(false)[57]++; g.seal(false) }, "", "differ"},
		{"both", func(g gpt) { g[512]++; g[len(g)-512]++ }, "primary", ""},
		{"no protective MBR", func(g gpt) { g[446+4] = 7 }, "protective MBR", ""},
		{"no MBR signature", func(g gpt) { g[511] = 0 }, "protective MBR", ""},
		{"header of another place", func(g gpt) { both(g, func(h, _ []byte) { le.PutUint64(h[24:], 2) }) }, "lies at LBA", ""},
		{"revision 2", func(g gpt) { both(g, func(h, _ []byte) { le.PutUint32(h[8:], 0x20000) }) }, "revision", ""},
		{"huge header", func(g gpt) { g[512+12] = 0xff; g[512+13] = 0xff; g[len(g)-500] = 0xff; g[len(g)-499] = 0xff }, "header of", ""},
		{"entries of 4 GiB", func(g gpt) { both(g, func(h, _ []byte) { le.PutUint32(h[80:], 1<<25) }) }, "not supported", ""},
		{"entries of 100 bytes", func(g gpt) { both(g, func(h, _ []byte) { le.PutUint32(h[84:], 100) }) }, "not supported", ""},
		{"usable behind the end", func(g gpt) { both(g, func(h, _ []byte) { le.PutUint64(h[48:], 1<<40) }) }, "usable", ""},
		{"partition behind the end", func(g gpt) { both(g, func(_, e []byte) { le.PutUint64(e[4*128+40:], 1<<40) }) }, "outside", ""},
		{"partition turned round", func(g gpt) { both(g, func(_, e []byte) { le.PutUint64(e[40:], 2000) }) }, "outside", ""},
		{"partitions overlap", func(g gpt) { both(g, func(_, e []byte) { le.PutUint64(e[128+32:], 3000) }) }, "overlap", ""},
		{"two partitions with one GUID", func(g gpt) { both(g, func(_, e []byte) { copy(e[4*128+16:4*128+32], e[16:32]) }) }, "same GUID", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := gpt(bytes.Clone(content))
			c.damage(g)
			table, err := ReadTable(bytes.NewReader(g), diskSize, 512)
			if c.want != "" {
				var place *TableError
				if !errors.Is(err, ErrNoTable) || !errors.As(err, &place) || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v", err)
				}
				return
			}
			if err != nil || (table.Warning != "") != (c.warns != "") || !strings.Contains(table.Warning, c.warns) || len(table.Partitions) != 3 {
				t.Fatalf("%+v, %v", table, err)
			}
		})
	}
	for _, size := range []int64{0, 511, 512, 3 * 512} {
		if _, err := ReadTable(bytes.NewReader(content[:size]), size, 512); !errors.Is(err, ErrNoTable) {
			t.Errorf("disk of %d bytes: %v", size, err)
		}
	}
	if _, err := ReadTable(bytes.NewReader(content), diskSize, 4096); !errors.Is(err, ErrNoTable) {
		t.Errorf("wrong sector size: %v", err)
	}
}

// FuzzTable gives header and first entries; checksums are put right.
func FuzzTable(f *testing.F) {
	h := make([]byte, 92+3*128)
	copy(h, "EFI PART")
	le := binary.LittleEndian
	le.PutUint32(h[8:], 0x10000)
	le.PutUint32(h[12:], 92)
	le.PutUint64(h[24:], 1)
	le.PutUint64(h[40:], 34)
	le.PutUint64(h[48:], 2000)
	le.PutUint64(h[72:], 2)
	le.PutUint32(h[80:], 128)
	le.PutUint32(h[84:], 128)
	h[92], h[92+32], h[92+40] = 1, 34, 99
	if len(h) == 0 {
		f.Fatal("empty seed")
	}
	f.Add(h)
	f.Fuzz(func(t *testing.T, in []byte) {
		g := gpt(make([]byte, 2048*512))
		g[510], g[511], g[446+4] = 0x55, 0xaa, 0xee
		copy(g[512:604], in)
		if len(in) > 92 {
			copy(g[1024:], in[92:])
		}
		h := g.header(true)
		if n := uint64(le.Uint32(h[80:])) * uint64(le.Uint32(h[84:])); n < 1<<16 {
			le.PutUint32(h[88:], crc32.ChecksumIEEE(g[1024:][:n]))
		}
		if n := le.Uint32(h[12:]); n >= 92 && n <= 512 {
			le.PutUint32(h[16:], 0)
			le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:n]))
		}
		table, err := ReadTable(bytes.NewReader(g), int64(len(g)), 512)
		if err != nil {
			return
		}
		for _, p := range table.Partitions {
			if p.Start < 1024 || p.Size <= 0 || p.Start+p.Size > int64(len(g)) {
				t.Fatalf("accepted %+v", p)
			}
		}
	})
}
