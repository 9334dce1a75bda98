package acl

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"testing"
)

// entry is one of an access list.
func entry(kind, flags byte, who []byte) []byte {
	b := make([]byte, aceHead, aceHead+len(who))
	b[0], b[1] = kind, flags
	binary.LittleEndian.PutUint16(b[2:], uint16(aceHead+len(who)))
	binary.LittleEndian.PutUint32(b[4:], 0x120089) // read
	return append(b, who...)
}

// with is a private descriptor with more entries.
func with(more ...[]byte) []byte {
	d := Private(false)
	for _, e := range more {
		d = append(d, e...)
	}
	list := d[headSize+len(admins)+len(system):]
	binary.LittleEndian.PutUint16(list[2:], uint16(len(list)))
	binary.LittleEndian.PutUint16(list[4:], uint16(2+len(more)))
	return d
}

func changed(d []byte, at int, to ...byte) []byte {
	d = bytes.Clone(d)
	copy(d[at:], to)
	return d
}

// TestIsPrivate: only a descriptor that lets in nobody but SYSTEM and administrators is private.
func TestIsPrivate(t *testing.T) {
	users, everyone := sid(32, 545), []byte{1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}
	// What ntfs-3g gives a file that nothing was said of: everyone has full access.
	open, err := hex.DecodeString("0100048030000000400000000000000014000000" + "02001c000100000000031400ff011f00010100000000000100000000" +
		"01020000000000052000000020020000" + "01020000000000052000000020020000")
	if err != nil {
		t.Fatal(err)
	}
	list := headSize + len(admins) + len(system)
	for name, c := range map[string]struct {
		d    []byte
		want bool
	}{
		"file": {Private(false), true}, "folder": {Private(true), true}, "SYSTEM alone": {System(), true},
		"ntfs-3g":        {open, false},
		"users":          {with(entry(aceAllow, 0, users)), false},
		"inherited":      {with(entry(aceAllow, 0x10, users)), false},
		"everyone":       {with(entry(aceAllow, 0, everyone)), false},
		"denied":         {with(entry(aceDeny, 0, users), entry(aceDenyCallback, 0, everyone)), true},
		"conditional":    {with(entry(0x09, 0, admins)), false},
		"unknown kind":   {with(entry(0x7f, 0, admins)), false},
		"other owner":    {changed(Private(false), headSize, users...), false},
		"no owner":       {changed(Private(false), 4, 0, 0, 0, 0), false},
		"no list":        {changed(Private(false), 2, 0, 0x80), false},
		"list is null":   {changed(Private(false), 16, 0, 0, 0, 0), false},
		"list outside":   {changed(Private(false), 16, 0xff, 0xff, 0xff, 0xff), false},
		"absolute":       {changed(Private(false), 2, 4, 0), false},
		"revision":       {changed(Private(false), 0, 2), false},
		"list too long":  {changed(Private(false), list+2, 0xff, 0xff), false},
		"list too short": {changed(Private(false), list+2, 4, 0), false},
		"more entries":   {changed(Private(false), list+4, 3, 0), false},
		"entry too long": {changed(Private(false), list+listHead+2, 0xff, 0xff), false},
		"empty entry":    {changed(Private(false), list+listHead+2, 0, 0), false},
		"empty":          {nil, false},
	} {
		if got := IsPrivate(c.d); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if n := len(System()); n != 76 {
		t.Errorf("that of SYSTEM alone has %d bytes", n)
	}
	for n := range Private(false) {
		if IsPrivate(Private(false)[:n]) {
			t.Errorf("its first %d bytes are private", n)
		}
	}
}

// FuzzIsPrivate: a descriptor that is private has no more than the two in entries that allow.
func FuzzIsPrivate(f *testing.F) {
	f.Add(Private(false))
	f.Add(with(entry(aceAllow, 0, sid(32, 545))))
	f.Fuzz(func(t *testing.T, d []byte) {
		if IsPrivate(d) && !bytes.Contains(d, admins) && !bytes.Contains(d, system) {
			t.Errorf("%x is private", d)
		}
	})
}
