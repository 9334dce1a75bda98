package chainload

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"troy/chainload/efiboot"
	"troy/internal/guid"
	"troy/internal/testing/efitest"
)

func TestHandOffFresh(t *testing.T) {
	m := newMachine(t)
	m.fw.Vars["Boot0000"] = []byte("something that is taken")
	m.fw.Vars["BootOrder"] = efitest.Words(0)
	m.put(t, "BCD.LOG1", []byte("log of a store that is gone"))
	r := m.handOff(t)
	if r.Store != StoreWritten || !errors.Is(r.storeReason, fs.ErrNotExist) || r.Entry != 1 || !r.entryCreated || r.Method != ByBootNext || len(r.Notes) != 0 {
		t.Errorf("result %+v", r)
	}
	m.bootsVHD(t)
	if got := m.files(t); !slices.Equal(got, []string{"BCD", "bootmgfw.efi"}) {
		t.Errorf("files %q", got)
	}
	if want := []string{"Boot0001", "BootOrder", "BootNext"}; !slices.Equal(m.fw.Writes, want) {
		t.Errorf("writes %q, want %q", m.fw.Writes, want)
	}
	o, err := efiboot.ParseLoadOption(m.fw.Vars["Boot0001"])
	if err != nil {
		t.Fatal(err)
	}
	hd, _ := o.Path[0].HardDrive()
	if hd != (efiboot.HardDrive{Number: 1, StartLBA: 2048, Sectors: 532480, GUID: guid.GUID{1}}) {
		t.Errorf("entry names %+v", hd)
	}
	if !bytes.Equal(m.fw.Vars["BootNext"], efitest.Words(1)) || !bytes.Equal(m.fw.Vars["BootOrder"], efitest.Words(0, 1)) {
		t.Errorf("BootNext %x, BootOrder %x", m.fw.Vars["BootNext"], m.fw.Vars["BootOrder"])
	}
}

// The second time nothing is written but BootNext, which the firmware ate.
func TestHandOffAgain(t *testing.T) {
	m := newMachine(t)
	m.handOff(t)
	before, err := os.Stat(filepath.Join(m.dir, "BCD"))
	if err != nil {
		t.Fatal(err)
	}
	delete(m.fw.Vars, "BootNext")
	m.fw.Writes = nil
	r := m.handOff(t)
	if r.Store != StoreKept || r.storeReason != nil || r.entryCreated || r.Method != ByBootNext {
		t.Errorf("result %+v", r)
	}
	if !slices.Equal(m.fw.Writes, []string{"BootNext"}) {
		t.Errorf("writes %q", m.fw.Writes)
	}
	after, err := os.Stat(filepath.Join(m.dir, "BCD"))
	if err != nil || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("a store that was right was written: %v", err)
	}
}

func TestHandOffNoBootFiles(t *testing.T) {
	for name, change := range map[string]func(*machine) error{
		"no file":    func(m *machine) error { return os.Remove(filepath.Join(m.dir, "bootmgfw.efi")) },
		"empty file": func(m *machine) error { return os.Truncate(filepath.Join(m.dir, "bootmgfw.efi"), 0) },
		"no folder":  func(m *machine) error { return os.RemoveAll(m.dir) },
		"no EFI file": func(m *machine) error {
			return os.WriteFile(filepath.Join(m.dir, "bootmgfw.efi"), make([]byte, 9), 0o600)
		},
	} {
		m := newMachine(t)
		if err := change(m); err != nil {
			t.Fatal(err)
		}
		_, err := HandOff(context.Background(), m.opts)
		if !errors.Is(err, ErrNoBootFiles) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want ErrNoBootFiles in one line", name, err)
		}
		if len(m.fw.Writes) != 0 {
			t.Errorf("%s: writes %q", name, m.fw.Writes)
		}
		if _, err := os.Stat(filepath.Join(m.dir, "BCD")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a store was written", name)
		}
	}
}

func TestHandOffBootNextRefused(t *testing.T) {
	m := newMachine(t)
	m.fw.Vars["BootOrder"] = efitest.Words(5, 6)
	m.fw.Refuse["BootNext"] = syscall.EIO
	r := m.handOff(t)
	if r.Method != ByBootOrder || len(r.Notes) != 1 || !errors.Is(r.Notes[0], syscall.EIO) || !errors.Is(r.Notes[0], efiboot.ErrRefused) {
		t.Errorf("result %+v", r)
	}
	if got := m.fw.Vars["BootOrder"]; !bytes.Equal(got, efitest.Words(r.Entry, 5, 6)) {
		t.Errorf("BootOrder %x", got)
	}
}

func TestHandOffNoBootNext(t *testing.T) {
	m := newMachine(t)
	m.fw.Vars["BootOrder"] = efitest.Words(5)
	m.opts.Methods = []Method{ByBootOrder}
	r := m.handOff(t)
	if r.Method != ByBootOrder || len(r.Notes) != 0 || slices.Contains(m.fw.Writes, "BootNext") {
		t.Errorf("result %+v, writes %q", r, m.fw.Writes)
	}
}

func TestHandOffFirmwareReadOnly(t *testing.T) {
	m := newMachine(t)
	for _, name := range []string{"Boot0000", "BootOrder", "BootNext"} {
		m.fw.Refuse[name] = syscall.ENOSPC
	}
	if _, err := HandOff(context.Background(), m.opts); !errors.Is(err, ErrFirmware) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("nothing can be created: %v", err)
	}
	delete(m.fw.Refuse, "Boot0000")
	_, err := HandOff(context.Background(), m.opts)
	if !errors.Is(err, ErrFirmware) || !errors.Is(err, efiboot.ErrRefused) || strings.Contains(err.Error(), "\n") {
		t.Errorf("only entries can be created: %v, want ErrFirmware in one line", err)
	}
	m = newMachine(t)
	m.fw.Refuse["BootOrder"] = syscall.ENOSPC
	if r := m.handOff(t); r.Method != ByBootNext || !r.entryCreated || len(r.Notes) != 2 || !errors.Is(r.Notes[1], ErrFull) {
		t.Errorf("BootOrder alone refused: %+v", r)
	}
}

func TestHandOffNotEFI(t *testing.T) {
	if _, err := os.Stat("/sys/firmware/efi"); !errors.Is(err, fs.ErrNotExist) {
		t.Logf("this machine has UEFI firmware, ErrNotEFI cannot be seen here (%v)", err)
		return
	}
	m := newMachine(t)
	m.opts.variables = nil
	if _, err := HandOff(context.Background(), m.opts); !errors.Is(err, ErrNotEFI) {
		t.Errorf("error %v, want ErrNotEFI", err)
	}
	if got := m.files(t); !slices.Equal(got, []string{"bootmgfw.efi"}) {
		t.Errorf("files %q: the ESP was touched", got)
	}
}

func TestHandOffBadOptions(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no ESP":       func(o *Options) { o.espDir = "" },
		"no ESP GUID":  func(o *Options) { o.ESP.GUID = guid.GUID{} },
		"no disk GUID": func(o *Options) { o.Disk = guid.GUID{} },
		"no data GUID": func(o *Options) { o.Data = guid.GUID{} },
	} {
		m := newMachine(t)
		change(m.opts)
		if _, err := HandOff(context.Background(), m.opts); !errors.Is(err, ErrOptions) || len(m.fw.Writes) != 0 {
			t.Errorf("%s: error %v, writes %q", name, err, m.fw.Writes)
		}
	}
}

// cancelledAt is a context that is cancelled when it is asked the n-th time.
type cancelledAt struct {
	context.Context
	n int
}

func (c *cancelledAt) Err() error {
	if c.n--; c.n <= 0 {
		return context.Canceled
	}
	return nil
}

func TestHandOffCancelled(t *testing.T) {
	for n, files := range map[int][]string{1: {"bootmgfw.efi"}, 2: {"BCD", "bootmgfw.efi"}} {
		m := newMachine(t)
		_, err := HandOff(&cancelledAt{context.Background(), n}, m.opts)
		if !errors.Is(err, context.Canceled) || len(m.fw.Writes) != 0 {
			t.Errorf("cancelled at check %d: error %v, writes %q", n, err, m.fw.Writes)
		}
		if got := m.files(t); !slices.Equal(got, files) {
			t.Errorf("cancelled at check %d: files %q, want %q", n, got, files)
		}
	}
}

// A device that is no ESP: one clear line, no folder left behind.
func TestHandOffNoESP(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	m := newMachine(t)
	m.opts.espDir, m.opts.ESPDevice = "", filepath.Join(tmp, "no such device")
	_, err := HandOff(context.Background(), m.opts)
	if !errors.Is(err, ErrESP) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v, want ErrESP in one line", err)
	}
	if left, err := filepath.Glob(filepath.Join(tmp, "esp*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
