package regf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// reseal makes the checksum right again after a test's damage.
func reseal(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[508:], checksum(b))
	return b
}

func TestParseBroken(t *testing.T) {
	h := &Hive{Root: &Key{Name: "r", Keys: []*Key{{Name: "a"}, {Name: "b"}}, Values: []*Value{{Name: "v", Data: []byte("12345678")}, {Name: "w"}}}}
	good := marshal(t, h)
	root := 4096 + binary.LittleEndian.Uint32(good[36:]) + 4
	list := 4096 + binary.LittleEndian.Uint32(good[root+0x1c:]) + 4
	le := binary.LittleEndian
	tests := []struct {
		name   string
		class  error
		damage func(b []byte)
	}{
		{"signature", ErrCorrupt, func(b []byte) { b[0] = 'R' }},
		{"major version", ErrUnsupported, func(b []byte) { b[20] = 2 }},
		{"minor version", ErrUnsupported, func(b []byte) { b[24] = 2 }},
		{"log file", ErrUnsupported, func(b []byte) { b[28] = 1 }},
		{"length", ErrCorrupt, func(b []byte) { le.PutUint32(b[40:], 1<<20) }},
		{"bin signature", ErrCorrupt, func(b []byte) { b[4096] = 0 }},
		{"bin offset", ErrCorrupt, func(b []byte) { b[4100] = 8 }},
		{"bin size", ErrCorrupt, func(b []byte) { le.PutUint32(b[4104:], 8192) }},
		{"cell size", ErrCorrupt, func(b []byte) { le.PutUint32(b[4128:], 12) }},
		{"cell size 0", ErrCorrupt, func(b []byte) { le.PutUint32(b[4128:], 0) }},
		{"cell size -2^31", ErrCorrupt, func(b []byte) { le.PutUint32(b[4128:], 1<<31) }},
		{"root in the middle of a cell", ErrCorrupt, func(b []byte) { b[36] += 8 }},
		{"root is a value", ErrCorrupt, func(b []byte) { copy(b[root:], "vk") }},
		{"root flag", ErrCorrupt, func(b []byte) { b[root+2] = 0x20 }},
		{"name length", ErrCorrupt, func(b []byte) { le.PutUint16(b[root+0x48:], 0xffff) }},
		{"loop", ErrCorrupt, func(b []byte) { copy(b[list+4:list+8], b[36:40]) }},
		{"one key listed twice", ErrCorrupt, func(b []byte) { copy(b[list+12:list+16], b[list+4:list+8]) }},
		{"list out of order", ErrCorrupt, func(b []byte) {
			first := slices.Clone(b[list+4 : list+12])
			copy(b[list+4:], b[list+12:list+20])
			copy(b[list+12:], first)
		}},
		{"parent", ErrCorrupt, func(b []byte) {
			first := 4096 + le.Uint32(b[list+4:]) + 4
			b[first+0x10] ^= 8
		}},
		{"one value listed twice", ErrCorrupt, func(b []byte) {
			values := 4096 + le.Uint32(b[root+0x28:]) + 4
			copy(b[values+4:values+8], b[values:values+4])
		}},
		{"value data", ErrCorrupt, func(b []byte) {
			value := 4096 + le.Uint32(b[4096+le.Uint32(b[root+0x28:])+4:]) + 4
			le.PutUint32(b[value+4:], 1000)
		}},
		{"value data inside", ErrCorrupt, func(b []byte) {
			value := 4096 + le.Uint32(b[4096+le.Uint32(b[root+0x28:])+4:]) + 4
			le.PutUint32(b[value+4:], inline|5)
		}},
		{"subkey count", ErrCorrupt, func(b []byte) { b[root+0x14] = 3 }},
		{"list kind", ErrCorrupt, func(b []byte) { b[list] = 'x' }},
		{"list count", ErrCorrupt, func(b []byte) { le.PutUint16(b[list+2:], 0xffff) }},
		{"volatile key", ErrUnsupported, func(b []byte) { b[root+2] |= flagVolatile }},
		{"value count", ErrCorrupt, func(b []byte) { le.PutUint32(b[root+0x24:], 1<<30) }},
		{"value list", ErrCorrupt, func(b []byte) { le.PutUint32(b[root+0x28:], none) }},
		{"security", ErrCorrupt, func(b []byte) { le.PutUint32(b[root+0x2c:], 0x20) }},
	}
	for _, tt := range tests {
		b := bytes.Clone(good)
		tt.damage(b)
		if _, err := Parse(reseal(b)); !errors.Is(err, tt.class) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.class)
		}
	}
	b := bytes.Clone(good)
	b[508] ^= 1
	var fe *FormatError
	if _, err := Parse(b); !errors.As(err, &fe) || fe.Offset != 508 {
		t.Errorf("checksum: error %v, want a FormatError at 508", err)
	}
	if _, err := Parse(make([]byte, MaxSize+1)); !errors.Is(err, ErrUnsupported) {
		t.Errorf("too long: error %v", err)
	}
}

// What Windows leaves in files without meaning it is read past, and all else is kept.
func TestParseTolerates(t *testing.T) {
	odd := func() *Hive {
		h := sample()
		for _, name := range []string{"\xed\xa0\xbd", "\xed\xa0\xbe", "a\xed\xb8\x80z", "\uffff"} {
			h.Root.Make(name).Set(name, SZ, EncodeSZ("x"))
		}
		return h
	}
	for _, tc := range []struct {
		name   string
		hive   *Hive
		change func(b []byte, nk uint32) // of each key
	}{
		{"number of volatile subkeys", sample(), func(b []byte, nk uint32) { binary.LittleEndian.PutUint32(b[nk+0x18:], 1) }},
		{"all bits of that number", sample(), func(b []byte, nk uint32) { binary.LittleEndian.PutUint32(b[nk+0x18:], none) }},
		{"list of volatile subkeys", sample(), func(b []byte, nk uint32) {
			b[nk+0x18] = 2
			binary.LittleEndian.PutUint32(b[nk+0x20:], 0x80000020)
		}},
		{"surrogates without a partner", odd(), func([]byte, uint32) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := marshal(t, tc.hive)
			keys := 0
			for i := 4096 + binHead + 4; i < len(b); i += 8 {
				if string(b[i:i+2]) == "nk" {
					keys++
					tc.change(b, uint32(i))
				}
			}
			if keys < maxSubkeys {
				t.Fatalf("%d keys were changed", keys)
			}
			want := flatten(tc.hive.Root, "", map[string]string{})
			h := parse(t, b)
			if !reflect.DeepEqual(flatten(h.Root, "", map[string]string{}), want) {
				t.Error("the tree reads different")
			}
			if !bytes.Equal(marshal(t, h), marshal(t, tc.hive)) {
				t.Error("what was read is written as another hive")
			}
		})
	}
}

func TestParseDirty(t *testing.T) {
	b := marshal(t, sample())
	b[4]++
	if h := parse(t, reseal(b)); !h.Dirty {
		t.Error("sequence numbers differ, Dirty is not set")
	}
}

// Every cut and many damaged bytes: an error with its class or a tree, at once.
func TestParseDamaged(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	good := marshal(t, sample())
	check := func(b []byte) {
		if _, err := Parse(b); err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupported) {
			t.Fatalf("error %v without its class", err)
		}
	}
	for range 300 {
		b := bytes.Clone(good)
		for range 1 + rng.IntN(4) {
			b[rng.IntN(len(b))] = byte(rng.Uint32())
		}
		check(reseal(b))
		check(good[:rng.IntN(len(good))])
	}
}

// hiveOf makes cells a hive: base block and hbin around them are right, so that
// the fuzzer spends its time on what is in the cells.
func hiveOf(cells []byte, root uint32) []byte {
	size := (binHead + len(cells) + binAlign - 1) &^ (binAlign - 1)
	b := make([]byte, baseSize+size)
	copy(b, (&Hive{}).marshalBase(root, size))
	copy(b[baseSize:], "hbin")
	binary.LittleEndian.PutUint32(b[baseSize+8:], uint32(size))
	copy(b[baseSize+binHead:], cells)
	if free := size - binHead - len(cells)&^7; free > 0 {
		binary.LittleEndian.PutUint32(b[len(b)-free:], uint32(free))
	}
	return b
}

func FuzzParse(f *testing.F) {
	small := &Hive{Root: &Key{Name: "r"}}
	k := small.Root.Make("Objects").Make("{a}")
	k.Set("Element", SZ, EncodeSZ("x"))
	k.Set("Data", Binary, []byte("more than four"))
	k.Class = []byte("c")
	b := marshal(f, small)
	cells := bytes.TrimRight(b[baseSize+binHead:], "\x00")
	cells = cells[:len(cells)&^7] // without the free cell
	root := binary.LittleEndian.Uint32(b[36:])
	if h := parse(f, hiveOf(cells, root)); !reflect.DeepEqual(flatten(h.Root, "", map[string]string{}), flatten(small.Root, "", map[string]string{})) {
		f.Fatal("the seed is not what it should be")
	}
	f.Add(cells, root)
	f.Fuzz(func(t *testing.T, cells []byte, root uint32) {
		h, err := Parse(hiveOf(cells, root))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupported) {
				t.Fatalf("error %v without its class", err)
			}
			return
		}
		out, err := h.Marshal()
		if errors.Is(err, ErrUnsupported) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("what Marshal made: %v", err)
		}
		if !reflect.DeepEqual(flatten(again.Root, "", map[string]string{}), flatten(h.Root, "", map[string]string{})) {
			t.Fatal("tree reads back different")
		}
	})
}
