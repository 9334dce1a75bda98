package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"troy/gates"
	"troy/trial/inside"
)

// wine is a prefix of Wine in a folder of the test's own, and the program.
type wine struct {
	t         *testing.T
	root, exe string
	env       []string
}

func newWine(t *testing.T) *wine {
	t.Helper()
	root := t.TempDir()
	w := &wine{t: t, root: root, exe: filepath.Join(root, "troy-gates.exe")}
	build := exec.Command("go", "build", "-trimpath", "-o", w.exe, ".")
	build.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.env = append(os.Environ(), "HOME="+root, "WINEPREFIX="+filepath.Join(root, "prefix"), "WINEDEBUG=-all", "WINEDLLOVERRIDES=mscoree,mshtml=")
	t.Cleanup(w.stop)
	w.run("wine64", "wineboot.exe", "--init")
	if err := os.WriteFile(filepath.Join(w.c("windows"), "system32", "bcryptprimitives.dll"), forwarder(), 0o644); err != nil {
		t.Fatal(err)
	}
	return w
}

// c is a folder of drive C.
func (w *wine) c(name string) string { return filepath.Join(w.root, "prefix", "drive_c", name) }

func (w *wine) run(program string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(filepath.Join("/usr/lib/wine", program), args...)
	cmd.Env = w.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		w.t.Fatalf("%s %q: %v\n%s", program, args, err, out.String())
	}
	return out.String()
}

// stop ends all of Wine, whose services outlive what was run.
func (w *wine) stop() {
	end := exec.Command("/usr/lib/wine/wineserver64", "-k")
	end.Env = w.env
	if out, err := end.CombinedOutput(); err != nil {
		w.t.Logf("no server was left: %v\n%s", err, out)
	}
	w.run("wineserver64", "-w")
}

// Under Wine the program runs as far as to the functions of virtdisk.dll that Wine lacks, and says
// so. What it looks up about the PC is Wine's answer, and no PC's.
func TestWine(t *testing.T) {
	if os.Getenv("TROY_SOAK") == "" {
		t.Log("only with TROY_SOAK=1: Wine makes a prefix of 700 MB; TestRun has the same without Wine, make check vets the code for Windows")
		return
	}
	w := newWine(t)
	t.Run("disks", func(t *testing.T) { w.disks(t) })
	t.Run("up", func(t *testing.T) { w.up(t) })
}

func (w *wine) disks(t *testing.T) {
	dir := disks(t)
	out := w.run("wine64", w.exe, "--yes", dir)
	if !strings.Contains(out, "W9   not run") || !strings.Contains(out, "virtdisk.dll lacks OpenVirtualDisk") || !strings.Contains(out, "a stand-in, no Windows") {
		t.Errorf("it says:\n%s", out)
	}
	b, err := os.ReadFile(filepath.Join(dir, gates.FileName))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := gates.Parse(b); err != nil || !r.PC.Windows.StandIn || r.Count(gates.NotRun) != len(gates.All()) {
		t.Errorf("%v: %s", err, b)
	}
}

// order puts the trial's disc into drive D: a folder with an order and the program.
func (w *wine) order(o *inside.Order) {
	w.t.Helper()
	cd := filepath.Join(w.root, "cd")
	if err := os.MkdirAll(cd, 0o755); err != nil {
		w.t.Fatal(err)
	}
	b, err := o.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cd, inside.OrderFile), b, 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// The first logon installs the program and carries an order out; the service, which Wine starts by
// itself with its next start, carries out the next one.
func (w *wine) up(t *testing.T) {
	told := make(chan inside.Record, 16)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var record inside.Record
		if err := json.NewDecoder(r.Body).Decode(&record); err != nil {
			t.Error(err)
		}
		told <- record
	}))
	defer server.Close()
	w.run("wine64", "reg.exe", "add", `HKLM\Software\Wine\Drives`, "/v", "d:", "/d", "cdrom", "/f")
	w.stop()
	w.order(&inside.Order{Number: 1, BallastMiB: 2, Stamp: 5, Do: []inside.Action{inside.Fill, inside.Disks}, Tell: server.URL})
	if err := os.Symlink(filepath.Join(w.root, "cd"), filepath.Join(w.root, "prefix", "dosdevices", "d:")); err != nil {
		t.Fatal(err)
	}
	w.run("wine64", w.exe, "up", "--install")
	first := <-told
	for first.Phase != inside.Desktop { // Wine may have started the service already
		first = <-told
	}
	if !first.Ballast.One(5) || !slices.Equal(first.Did, []inside.Action{inside.Fill}) || !first.PC.Windows.StandIn ||
		!strings.Contains(strings.Join(first.Failed, "\n"), `no drive has \gates`) {
		t.Errorf("%+v", first)
	}
	w.stop()
	w.order(&inside.Order{Number: 2, BallastMiB: 2, Tell: server.URL})
	w.run("wine64", "wineboot.exe") // starts the services
	second := <-told
	for second.Order != 2 {
		second = <-told
	}
	w.stop()
	f, err := os.Open(filepath.Join(w.c("Troy"), "trial.bin"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := inside.All(f)
	if err != nil || len(all) != 2 || second.Phase != inside.Up || !reflect.DeepEqual(all[1], second) {
		t.Errorf("the file has %+v, %v\nthe trial was told %+v", all, err, second)
	}
}

// forwarder is bcryptprimitives.dll as Go programs ask for it: ProcessPrng, which leads to
// SystemFunction036 (RtlGenRandom) of advapi32. Wine 8 does not have it. There is no code in it.
func forwarder() []byte {
	const place = 0x1000 // of the one section, in memory
	le := binary.LittleEndian
	section := make([]byte, 0x200)
	text := func(at uint32, s string) uint32 { copy(section[at:], s); return place + at }
	// The export directory: ordinals from 1, one function, one name, and where their tables are.
	for at, v := range map[uint32]uint32{12: text(0x80, "bcryptprimitives.dll"), 16: 1, 20: 1, 24: 1, 28: place + 0x40, 32: place + 0x48, 36: place + 0x50,
		0x40: text(0xa0, "ADVAPI32.SystemFunction036"), 0x48: text(0xc0, "ProcessPrng")} {
		le.PutUint32(section[at:], v)
	}
	head := make([]byte, 0x200)
	copy(head, "MZ")
	le.PutUint32(head[0x3c:], 0x80)
	copy(head[0x80:], "PE\x00\x00")
	file := head[0x84:]
	le.PutUint16(file, 0x8664)
	le.PutUint16(file[2:], 1)       // section
	le.PutUint16(file[16:], 240)    // bytes of the optional header
	le.PutUint16(file[18:], 0x2022) // an image, large addresses, a DLL
	optional := file[20:]
	le.PutUint16(optional, 0x20b)
	le.PutUint64(optional[24:], 0x180000000)
	for at, v := range map[int]uint32{8: 0x200, 20: place, 32: 0x1000, 36: 0x200, 56: 0x2000, 60: 0x200, 108: 16, 112: place, 116: 0x100} {
		le.PutUint32(optional[at:], v) // sizes, alignments, 16 directories, the first of which is the exports'
	}
	for at, v := range map[int]uint16{40: 6, 48: 6, 68: 3, 70: 0x160} {
		le.PutUint16(optional[at:], v) // of Windows Vista, console
	}
	for at, v := range map[int]uint64{72: 0x100000, 80: 0x1000, 88: 0x100000, 96: 0x1000} {
		le.PutUint64(optional[at:], v) // stack and heap
	}
	entry := optional[240:]
	copy(entry, ".edata")
	for at, v := range map[int]uint32{8: 0x200, 12: place, 16: 0x200, 20: 0x200, 36: 0x40000040} {
		le.PutUint32(entry[at:], v) // sizes and places, data that is read
	}
	return append(head, section...)
}
