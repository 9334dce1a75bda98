package ntfs_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/diskwriter/ntfs"
)

func inRoot(name string, content []byte) func(root string) error {
	return func(root string) error { return os.WriteFile(filepath.Join(root, name), content, 0o644) }
}

func hiberfil(magic string) []byte { return append([]byte(magic), make([]byte, 8192)...) }

// volumeFlags sets flags of $Volume.
func volumeFlags(flags uint16) func(t *testing.T, m *image) {
	return func(t *testing.T, m *image) {
		m.record(`\$Volume`, func(b []byte) {
			at := attribute(t, b, 0x70)[0x18+10:]
			binary.LittleEndian.PutUint16(at, binary.LittleEndian.Uint16(at)|flags)
		})
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name   string
		make   func(root string) error
		damage func(t *testing.T, m *image)
		want   ntfs.Condition
		err    error
	}{
		{"just made", nil, nil, ntfs.Clean, nil},
		{"hibernated", inRoot("hiberfil.sys", hiberfil("hibr")), nil, ntfs.Refused, ntfs.ErrHibernated},
		{"hibernated, upper case", inRoot("HIBERFIL.SYS", hiberfil("HIBR")), nil, ntfs.Refused, ntfs.ErrHibernated},
		{"hibernate once, resume many", inRoot("hiberfil.sys", hiberfil("HORM")), nil, ntfs.Refused, ntfs.ErrHibernated},
		{"unknown hibernation", inRoot("hiberfil.sys", hiberfil("what")), nil, ntfs.Refused, ntfs.ErrHibernated},
		{"hiberfil of three bytes", inRoot("hiberfil.sys", []byte("hib")), nil, ntfs.Refused, ntfs.ErrHibernated},
		{"resumed", inRoot("hiberfil.sys", hiberfil("wake")), nil, ntfs.Clean, nil},
		{"resuming", inRoot("hiberfil.sys", hiberfil("RSTR")), nil, ntfs.Clean, nil},
		{"never hibernated", inRoot("hiberfil.sys", make([]byte, 8192)), nil, ntfs.Clean, nil},
		{"empty hiberfil", inRoot("hiberfil.sys", nil), nil, ntfs.Clean, nil},
		{"second Windows", func(root string) error { return os.MkdirAll(filepath.Join(root, "WINDOWS/System32"), 0o755) }, nil, ntfs.Refused, ntfs.ErrSecondWindows},
		{"a file called Windows", inRoot("Windows", []byte("no folder")), nil, ntfs.Clean, nil},
		{"dirty flag", nil, volumeFlags(1), ntfs.Unclean, nil},
		{"$LogFile to be resized", nil, volumeFlags(0x2), ntfs.Unclean, nil},
		{"to be upgraded", nil, volumeFlags(0x4), ntfs.Unclean, nil},
		{"object ids to be repaired", nil, volumeFlags(0x20), ntfs.Unclean, nil},
		{"chkdsk under way", nil, volumeFlags(0x4000), ntfs.Unclean, nil},
		{"chkdsk under way, as Windows formats", nil, volumeFlags(0x4080), ntfs.Unclean, nil},
		{"changed by chkdsk", nil, volumeFlags(0x8000), ntfs.Unclean, nil},
		{"several flags", nil, volumeFlags(0xc027), ntfs.Unclean, nil},
		{"flags of volumes in order", nil, volumeFlags(0x98), ntfs.Clean, nil},
		{"log in use", nil, func(t *testing.T, m *image) { newLog(t, m, 1, 1).finish(logInUse) }, ntfs.Unclean, nil},
		{"log closed", nil, func(t *testing.T, m *image) { newLog(t, m, 1, 1).finish(logClosed) }, ntfs.Clean, nil},
		{"log without clients", nil, func(t *testing.T, m *image) { newLog(t, m, 1, 1).finish(logNobody) }, ntfs.Clean, nil},
		{"log 2.0 in use", nil, func(t *testing.T, m *image) { newLog(t, m, 2, 0).finish(logInUse) }, ntfs.Unclean, nil},
		{"log 2.0 closed", nil, func(t *testing.T, m *image) { newLog(t, m, 2, 0).finish(logClosed) }, ntfs.Unclean, nil},
		{"log of nonsense", nil, func(t *testing.T, m *image) {
			pos, _, err := m.open().LogPlace()
			if err != nil {
				t.Fatal(err)
			}
			m.write(random(9, 8192), pos)
		}, ntfs.Unclean, nil},
		{"BitLocker", nil, func(t *testing.T, m *image) { m.write([]byte("-FVE-FS-"), 3) }, ntfs.Refused, ntfs.ErrBitLocker},
		{"no NTFS", nil, func(t *testing.T, m *image) { m.write(make([]byte, 512), 0) }, ntfs.Refused, ntfs.ErrNotNTFS},
		{"root index torn", nil, func(t *testing.T, m *image) {
			m.record(`\`, func(b []byte) { attribute(t, b, 0x90)[0x20] ^= 0xff })
		}, ntfs.Refused, ntfs.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newImage(t, 40*mib, 512, 4096)
			if c.make != nil {
				m.mounted(c.make)
			}
			if c.damage != nil {
				c.damage(t, m)
			}
			v, d := ntfs.Judge(m, m.size)
			if d.Condition != c.want || !errors.Is(d.Err, c.err) || c.err == nil && d.Err != nil {
				t.Fatalf("verdict %v: %v, want %v, %v", d.Condition, d, c.want, c.err)
			}
			if (v != nil) != (c.want != ntfs.Refused) {
				t.Errorf("volume %v with %v", v, d.Condition)
			}
			if s := d.String(); !strings.Contains(s, "NTFS") || strings.Contains(s, "\n") {
				t.Errorf("text %q", s)
			}
			t.Log(d)
		})
	}
}

// TestJudgeAll: what was found first hides nothing, and a verdict can leave a kind of refusal out.
func TestJudgeAll(t *testing.T) {
	windows := func(root string) error { return os.MkdirAll(filepath.Join(root, "Windows/System32"), 0o755) }
	for _, c := range []struct {
		name          string
		asleep, dirty bool
		windows       bool
		want, except  ntfs.Condition
		err           error // that is left without ErrSecondWindows
	}{
		{"Windows", false, false, true, ntfs.Refused, ntfs.Clean, nil},
		{"dirty Windows", false, true, true, ntfs.Refused, ntfs.Unclean, nil},
		{"sleeping Windows", true, false, true, ntfs.Refused, ntfs.Refused, ntfs.ErrHibernated},
		{"sleeping dirty Windows", true, true, true, ntfs.Refused, ntfs.Refused, ntfs.ErrHibernated},
		{"dirty", false, true, false, ntfs.Unclean, ntfs.Unclean, nil},
	} {
		m := newImage(t, 40*mib, 512, 4096)
		if c.windows {
			m.mounted(windows)
		}
		if c.asleep {
			m.mounted(inRoot("hiberfil.sys", hiberfil("HIBR")))
		}
		if c.dirty {
			volumeFlags(1)(t, m)
		}
		d := m.open().Judge()
		e := d.Except(ntfs.ErrSecondWindows)
		if d.Condition != c.want || d.Dirty != c.dirty || len(d.Reasons) > 0 != c.dirty || c.windows != slices.ContainsFunc(d.Refusals, func(err error) bool { return errors.Is(err, ntfs.ErrSecondWindows) }) {
			t.Errorf("%s: %+v", c.name, d)
		}
		if e.Condition != c.except || !errors.Is(e.Err, c.err) || c.err == nil && e.Err != nil || e.Dirty != c.dirty {
			t.Errorf("%s: without %v %+v", c.name, ntfs.ErrSecondWindows, e)
		}
	}
	m := newImage(t, 40*mib, 512, 4096)
	m.write([]byte("-FVE-FS-"), 3)
	if e := m.judge().Except(ntfs.ErrBitLocker); e.Condition != ntfs.Refused || !errors.Is(e.Err, ntfs.ErrBitLocker) {
		t.Errorf("a volume that was not opened: %+v", e)
	}
}
