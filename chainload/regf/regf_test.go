package regf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"troy/internal/testing/hivextest"
	"troy/internal/utf16le"
)

// sample is a tree with everything that a tree can have.
func sample() *Hive {
	root := &Key{Name: "Root", Time: 0x01d0_0000_1111_2222}
	a := root.Make("alpha")
	a.Set("", SZ, EncodeSZ("default value"))
	a.Set("none", Binary, nil)
	a.Set("one", Binary, []byte{1})
	a.Set("four", DWORD, EncodeDWORD(0xdeadbeef))
	a.Set("five", Binary, []byte{1, 2, 3, 4, 5})
	a.Set("list", MultiSZ, EncodeMultiSZ("x", "yy", "ü"))
	a.Set("prüfung", SZ, EncodeSZ("Latin-1 name"))
	a.Set("Ωmega", SZ, EncodeSZ("UTF-16 name 🙂"))
	a.Class = utf16le.Append(nil, "class")
	b := root.Make("Beta")
	b.Security = append(defaultSecurity()[:len(defaultSecurity()):len(defaultSecurity())], 0, 0, 0, 0)
	b.Make("Übung").Make("Ωdeep").Set("big", Binary, bytes.Repeat([]byte("0123456789abcdef"), 1000))
	many := root.Make("many")
	for i := range maxSubkeys {
		many.Make(fmt.Sprintf("key %03d", i)).Set("n", DWORD, EncodeDWORD(uint32(i)))
	}
	return &Hive{Root: root, FileName: `\a\b`, Sequence: 7, Time: 0x01d0_0000_3333_4444}
}

func marshal(t testing.TB, h *Hive) []byte {
	t.Helper()
	b, err := h.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t testing.TB, b []byte) *Hive {
	t.Helper()
	h, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// flatten lists a tree: path of key or value to what it holds.
func flatten(k *Key, path string, out map[string]string) map[string]string {
	out[path] = fmt.Sprintf("class %x", k.Class)
	for _, v := range k.Values {
		out[path+"|"+v.Name] = fmt.Sprintf("%d %x", v.Type, v.Data)
	}
	for _, s := range k.Keys {
		flatten(s, path+`\`+s.Name, out)
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	h := sample()
	b := marshal(t, h)
	got := parse(t, b)
	if !reflect.DeepEqual(flatten(got.Root, "", map[string]string{}), flatten(h.Root, "", map[string]string{})) {
		t.Error("tree reads back different")
	}
	if got.Sequence != 7 || got.Dirty || got.Time != h.Time || got.FileName != h.FileName || got.Root.Time != h.Root.Time {
		t.Errorf("base block reads back as %+v", got)
	}
	if d := got.Root.Key("alpha").Security; !bytes.Equal(d, defaultSecurity()) {
		t.Errorf("inherited security %x", d)
	}
	if d := got.Root.Key("BETA").Key("übung").Security; !bytes.Equal(d, h.Root.Key("Beta").Security) {
		t.Errorf("security below Beta %x", d)
	}
	if again := marshal(t, got); !bytes.Equal(again, b) {
		t.Error("what was parsed marshals to other bytes")
	}
}

// The fixed places of the format, read without the code under test.
func TestBaseBlock(t *testing.T) {
	b := marshal(t, sample())
	le := binary.LittleEndian
	var sum uint32
	for i := 0; i < 508; i += 4 {
		sum ^= le.Uint32(b[i:])
	}
	root := 4096 + le.Uint32(b[36:])
	for _, tt := range []struct {
		what      string
		got, want any
	}{
		{"signature", string(b[:4]), "regf"},
		{"first sequence", le.Uint32(b[4:]), uint32(7)},
		{"second sequence", le.Uint32(b[8:]), uint32(7)},
		{"version", [2]uint32{le.Uint32(b[20:]), le.Uint32(b[24:])}, [2]uint32{1, 3}},
		{"format", le.Uint32(b[32:]), uint32(1)},
		{"length", int(le.Uint32(b[40:])), len(b) - 4096},
		{"checksum", le.Uint32(b[508:]), sum},
		{"hbin", string(b[4096:4100]), "hbin"},
		{"root", string(b[root+4 : root+6]), "nk"},
		{"flags of the root", le.Uint16(b[root+6:]), uint16(0x2c)},
		{"subkeys of the root", le.Uint32(b[root+4+0x14:]), uint32(3)},
		{"longest name of a subkey", le.Uint32(b[root+4+0x34:]), uint32(10)},
		{"name of the root", string(b[root+4+0x4c : root+4+0x50]), "Root"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %v, want %v", tt.what, tt.got, tt.want)
		}
	}
}

// Windows checks security descriptors; this one is spelled out in MS-DTYP.
func TestDefaultSecurity(t *testing.T) {
	want := []byte{
		1, 0, 0x04, 0x94, 72, 0, 0, 0, 88, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, // owner at 72, group at 88, DACL at 20
		2, 0, 52, 0, 2, 0, 0, 0, // ACL of 52 bytes with 2 entries
		0, 2, 20, 0, 0x3f, 0, 0x0f, 0, 1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0, // S-1-5-18
		0, 2, 24, 0, 0x3f, 0, 0x0f, 0, 1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0, // S-1-5-32-544
		1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0,
		1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0,
	}
	if got := defaultSecurity(); !bytes.Equal(got, want) {
		t.Errorf("defaultSecurity = %v\nwant              %v", got, want)
	}
}

func TestReadByHivex(t *testing.T) {
	root := hivextest.Read(t, marshal(t, sample()))
	if len(root.Keys) != 3 || root.Name != "Root" {
		t.Fatalf("hivex sees root %q with %d keys", root.Name, len(root.Keys))
	}
	values := map[string]string{}
	for _, v := range root.Key("alpha").Values {
		values[v.Name] = v.Type + " " + v.Data(t)
	}
	want := map[string]string{
		"": "string default value", "none": "binary ", "one": "binary \x01", "four": "int32 " + fmt.Sprint(int32(-0x21524111)),
		"five": "binary \x01\x02\x03\x04\x05", "list": "string-list x|yy|ü|",
		"prüfung": "string Latin-1 name", "Ωmega": "string UTF-16 name 🙂",
	}
	if !reflect.DeepEqual(values, want) {
		t.Errorf("hivex sees values %q\nwant            %q", values, want)
	}
	if many := root.Key("many"); len(many.Keys) != maxSubkeys || many.Key("key 499") == nil {
		t.Errorf("hivex sees %d keys below many", len(many.Keys))
	}
	deep := root.Key("Beta").Key("Übung").Key("Ωdeep")
	if deep == nil || len(deep.Values[0].Data(t)) != 16000 {
		t.Errorf("hivex sees %+v in the deep key", deep)
	}
}

// hivex allocates cells, grows lists and frees values in our hive; our reader
// sees what it did.
func TestEditedByHivex(t *testing.T) {
	commands := []string{`cd \alpha`, "setval 2", "a", "string:new", "b", "dword:0x17"}
	for i := range 60 {
		commands = append(commands, `cd \Beta`, fmt.Sprintf("add n%02d", i))
	}
	commands = append(commands, `cd \many\key 007`, "del")
	h := parse(t, hivextest.Edit(t, marshal(t, sample()), commands...))
	if h.Dirty {
		t.Error("hive is dirty")
	}
	if s, err := h.Root.Key("alpha").Value("a").Text(); s != "new" || err != nil {
		t.Errorf("value a = %q, %v", s, err)
	}
	if n := len(h.Root.Key("alpha").Values); n != 2 {
		t.Errorf("%d values, want 2", n)
	}
	if n := len(h.Root.Key("Beta").Keys); n != 61 {
		t.Errorf("%d keys below Beta, want 61", n)
	}
	if n := len(h.Root.Key("many").Keys); n != maxSubkeys-1 || h.Root.Key("many").Key("key 007") != nil {
		t.Errorf("%d keys below many", n)
	}
	again := parse(t, marshal(t, h))
	if !reflect.DeepEqual(flatten(again.Root, "", map[string]string{}), flatten(h.Root, "", map[string]string{})) {
		t.Error("edited tree reads back different")
	}
}

func TestTextValues(t *testing.T) {
	for _, tt := range []struct {
		data []byte
		want string
		ok   bool
	}{
		{EncodeSZ("abc"), "abc", true},
		{EncodeMultiSZ("a", "b"), "a", true},
		{[]byte{'a', 0}, "a", true}, // no NUL
		{nil, "", true},
		{[]byte{'a', 0, 'b'}, "", false},
		{[]byte{0x00, 0xd8, 'b', 0}, "", false}, // half a surrogate pair
	} {
		got, err := (&Value{Data: tt.data}).Text()
		if got != tt.want || (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("Text(%x) = %q, %v, want %q", tt.data, got, err, tt.want)
		}
	}
}

func TestMarshalRefuses(t *testing.T) {
	deep := &Key{Name: "deep"}
	for k, i := deep, 0; i < maxDepth+1; i++ {
		k = k.Make("d")
	}
	wide := &Key{Name: "wide"}
	for i := range maxSubkeys + 1 {
		wide.Keys = append(wide.Keys, &Key{Name: fmt.Sprint(i)})
	}
	for name, root := range map[string]*Key{
		"no root": nil, "deep": deep, "wide": wide,
		"empty name": {}, "long name": {Name: strings.Repeat("x", 256)},
		"twins": {Name: "r", Keys: []*Key{{Name: "a"}, {Name: "A"}}},
		"big":   {Name: "r", Values: []*Value{{Name: "v", Data: make([]byte, MaxSize)}}},
	} {
		if _, err := (&Hive{Root: root}).Marshal(); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: error %v, want ErrUnsupported", name, err)
		}
	}
}

// cellAt is the content of the cell at an offset that stands in the hive.
func cellAt(b []byte, off uint32) []byte { return b[4096+int(off)+4:] }

// countKeys walks the nk cells without the code under test, checks the hints of
// each lf list, and counts the users of each sk cell.
func countKeys(t *testing.T, b []byte, off uint32, uses map[uint32]uint32) {
	le := binary.LittleEndian
	nk := cellAt(b, off)
	uses[le.Uint32(nk[0x2c:])]++
	if le.Uint32(nk[0x14:]) == 0 {
		return
	}
	lf := cellAt(b, le.Uint32(nk[0x1c:]))
	if string(lf[:2]) != "lf" || uint32(le.Uint16(lf[2:])) != le.Uint32(nk[0x14:]) {
		t.Fatalf("list %q of %d for %d subkeys", lf[:2], le.Uint16(lf[2:]), le.Uint32(nk[0x14:]))
	}
	for i := range int(le.Uint16(lf[2:])) {
		entry := lf[4+8*i:]
		child := cellAt(b, le.Uint32(entry))
		want := make([]byte, 4)
		if le.Uint16(child[2:])&0x20 != 0 {
			copy(want, child[0x4c:0x4c+int(le.Uint16(child[0x48:]))])
		}
		if !bytes.Equal(entry[4:8], want) {
			t.Errorf("hint %q, want %q", entry[4:8], want)
		}
		countKeys(t, b, le.Uint32(entry), uses)
	}
}

func TestListsAndSecurity(t *testing.T) {
	b := marshal(t, sample())
	le := binary.LittleEndian
	uses := map[uint32]uint32{}
	countKeys(t, b, le.Uint32(b[36:]), uses)
	if len(uses) != 2 {
		t.Fatalf("%d security descriptors in use, want 2", len(uses))
	}
	for off, n := range uses {
		sk := cellAt(b, off)
		next, previous := le.Uint32(sk[4:]), le.Uint32(sk[8:])
		if string(sk[:2]) != "sk" || le.Uint32(sk[12:]) != n {
			t.Errorf("cell %q says %d users, has %d", sk[:2], le.Uint32(sk[12:]), n)
		}
		if next == off || next != previous || uses[next] == 0 {
			t.Errorf("descriptor at %#x: next %#x, previous %#x, want the other one of %v", off, next, previous, uses)
		}
	}
}

// withRI puts an ri list in front of the root's lf list, which it names n times.
func withRI(t *testing.T, h *Hive, n int) []byte {
	b := marshal(t, h)
	le := binary.LittleEndian
	root := cellAt(b, le.Uint32(b[36:]))
	free := len(b) - 64 // in the free cell at the end of the last bin
	for off := 4096 + 32; off < len(b); {
		size := int32(le.Uint32(b[off:]))
		if size > 0 && off+int(size) == len(b) {
			le.PutUint32(b[off:], uint32(free-off))
		}
		off += int(max(size, -size))
		if off > free {
			break
		}
	}
	le.PutUint32(b[free:], ^uint32(63)) // -64
	copy(b[free+4:], "ri")
	le.PutUint16(b[free+6:], uint16(n))
	for i := range n {
		copy(b[free+8+4*i:], root[0x1c:0x20])
	}
	le.PutUint32(root[0x1c:], uint32(free-4096))
	return b
}

func TestListOfLists(t *testing.T) {
	h := &Hive{Root: &Key{Name: "r", Keys: []*Key{{Name: "a"}, {Name: "b"}}}}
	b := withRI(t, h, 1)
	if got := parse(t, b); got.Root.Key("b") == nil || len(got.Root.Keys) != 2 {
		t.Errorf("keys %v", got.Root.Keys)
	}
	if seen := hivextest.Read(t, b); len(seen.Keys) != 2 {
		t.Errorf("hivex sees %d keys", len(seen.Keys))
	}
	_, err := Parse(withRI(t, h, 2))
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "two owners") {
		t.Errorf("a list named twice: error %v", err)
	}
}
