package blockdev

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// partitioned is a disk of 64 MiB with the table that a script of sfdisk describes.
func partitioned(t *testing.T, script string) (disk []byte, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 64<<20); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sfdisk", "-q", path)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
	disk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return disk, path
}

// listed is what sfdisk reads from a disk: number, start and size in bytes.
func listed(t *testing.T, path string) (list []Entry) {
	t.Helper()
	out, err := exec.Command("sfdisk", "--json", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		PartitionTable struct {
			Partitions []struct {
				Node        string
				Start, Size int64
				Type        string
			}
		}
	}
	if err := json.Unmarshal(out, &table); err != nil {
		t.Fatal(err)
	}
	for _, p := range table.PartitionTable.Partitions {
		if p.Type == "f" || strings.HasPrefix(p.Type, "E3C9E316") { // extended; Microsoft reserved
			continue
		}
		list = append(list, Entry{Number: int(p.Node[len(p.Node)-1] - '0'), Start: p.Start * 512, Size: p.Size * 512})
	}
	return list
}

// TestVolumes: of both kinds of table Volumes reads what sfdisk reads.
func TestVolumes(t *testing.T) {
	const basic, reserved = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "E3C9E316-0B5C-4DB8-817D-F92DF00215AE"
	for name, script := range map[string]string{
		"one primary":     "label: dos\nstart=2048,size=126976,type=7,bootable\n",
		"system reserved": "label: dos\nstart=2048,size=20480,type=7,bootable\nsize=90000,type=7\n",
		"logical drives":  "label: dos\n1: size=20480,type=7\n2: size=80000,type=f\n5: size=20000,type=7\n6: size=30000,type=7\n7: size=9000,type=7\n",
		"GPT":             "label: gpt\nsize=8192,type=" + reserved + "\nsize=40000,type=" + basic + "\ntype=" + basic + "\n",
	} {
		disk, path := partitioned(t, script)
		got, err := Volumes(bytes.NewReader(disk), int64(len(disk)), 512)
		for i := range got {
			got[i] = Entry{Number: got[i].Number, Start: got[i].Start, Size: got[i].Size}
		}
		if want := listed(t, path); err != nil || len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("%s: %+v, %v; sfdisk has %+v", name, got, err, want)
		}
	}
	circle, _ := partitioned(t, "label: dos\n1: size=80000,type=f\n5: size=20000,type=7\n6: size=30000,type=7\n")
	const extended, next = 2048 * 512, 446 + 16 + 8 // the first record; in it, where the next one is
	second := extended + int(binary.LittleEndian.Uint32(circle[extended+next:]))*512
	copy(circle[second+446+16:], circle[extended+446+16:][:16])
	if list, err := Volumes(bytes.NewReader(circle), int64(len(circle)), 512); err != nil || len(list) != maxLogical {
		t.Errorf("a record that follows itself: %d partitions, %v", len(list), err)
	}
	if _, err := Volumes(bytes.NewReader(make([]byte, 1<<20)), 1<<20, 512); !errors.Is(err, ErrNoTable) {
		t.Errorf("no table: %v", err)
	}
}
