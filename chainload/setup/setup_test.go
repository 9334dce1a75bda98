package setup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"troy/chainload/regf"
)

// hive makes a hive with values in its key Setup; nil has no such key.
func hive(t *testing.T, values map[string]uint32, change func(b []byte)) *regf.Reader {
	t.Helper()
	root := &regf.Key{Name: "ROOT", Flags: 4}
	if values != nil {
		k := root.Make("Setup")
		for name, n := range values {
			k.Set(name, regf.DWORD, regf.EncodeDWORD(n))
		}
		k.Set("CmdLine", regf.SZ, regf.EncodeSZ(`oobe\windeploy.exe`))
	}
	b, err := (&regf.Hive{Root: root}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(b)
		var sum uint32
		for i := 0; i < 508; i += 4 {
			sum ^= binary.LittleEndian.Uint32(b[i:])
		}
		binary.LittleEndian.PutUint32(b[508:], sum)
	}
	h, err := regf.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func unclosed(b []byte) { b[4]++ }

// TestPending: setup is over when both values are 0 or absent, in a hive that was closed.
func TestPending(t *testing.T) {
	for _, c := range []struct {
		name   string
		values map[string]uint32
		change func([]byte)
		want   bool
		err    error
	}{
		{"applied", map[string]uint32{"SystemSetupInProgress": 1, "OOBEInProgress": 1}, nil, true, nil},
		{"between restarts", map[string]uint32{"SystemSetupInProgress": 0, "OOBEInProgress": 1}, nil, true, nil},
		{"specialise", map[string]uint32{"SystemSetupInProgress": 1, "OOBEInProgress": 0}, nil, true, nil},
		{"over", map[string]uint32{"SystemSetupInProgress": 0, "OOBEInProgress": 0}, nil, false, nil},
		{"values are absent", map[string]uint32{"SetupType": 0}, nil, false, nil},
		{"no key", nil, nil, false, nil},
		{"pending, not closed", map[string]uint32{"OOBEInProgress": 1}, unclosed, true, nil},
		{"over, not closed", map[string]uint32{"OOBEInProgress": 0}, unclosed, false, ErrUnclosed},
		{"no number", map[string]uint32{"OOBEInProgress": 0}, func(b []byte) {
			b[bytes.Index(b, []byte("OOBEInProgress"))-20+12] = 3 // binary
		}, false, regf.ErrCorrupt},
	} {
		if got, err := PendingIn(hive(t, c.values, c.change)); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v, want %v, %v", c.name, got, err, c.want, c.err)
		}
	}
}
