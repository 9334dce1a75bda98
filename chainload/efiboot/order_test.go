package efiboot

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRemove(t *testing.T) {
	for name, c := range map[string]struct {
		order, want string
		refuse      string
		writes      []string
	}{
		"named":        {order: "\x01\x00\x02\x00\x03\x00", want: "\x07\x00\x00\x00\x02\x00", writes: []string{"BootOrder"}},
		"not named":    {order: "\x02\x00", want: "\x07\x00\x00\x00\x02\x00"},
		"all named":    {order: "\x03\x00\x01\x00", want: ""},
		"no BootOrder": {},
		"BootOrder is refused": {order: "\x01\x00\x02\x00", want: "\x07\x00\x00\x00\x01\x00\x02\x00", refuse: "BootOrder",
			writes: []string{"BootOrder", "BootOrder"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			for _, n := range []string{"Boot0001", "Boot0002", "Boot0003"} {
				f.put(t, n, otherOption(t, `\a.efi`))
			}
			if c.order != "" {
				f.put(t, "BootOrder", []byte(c.order))
			}
			f.refuse[c.refuse] = unix.ENOSPC
			err := Remove(newVariables(f), []uint16{1, 3})
			if c.refuse == "" && err != nil || c.refuse != "" && !errors.Is(err, ErrRefused) {
				t.Error(err)
			}
			all := f.content(t)
			if all["Boot0001"+suffix] != "" || all["Boot0003"+suffix] != "" || all["Boot0002"+suffix] == "" {
				t.Errorf("variables %q", all)
			}
			if all["BootOrder"+suffix] != c.want || !slices.Equal(f.writes, c.writes) {
				t.Errorf("BootOrder %q, writes %q", all["BootOrder"+suffix], f.writes)
			}
		})
	}
}

func TestInOrder(t *testing.T) {
	f := newFolder(t)
	off := otherOption(t, `\off.efi`)
	off[0] = 0
	f.put(t, "Boot0001", otherOption(t, `\a.efi`))
	f.put(t, "Boot0002", off)
	f.put(t, "Boot0003", otherOption(t, `\b.efi`))
	f.put(t, "Boot0004", otherOption(t, `\c.efi`))
	setup := otherOption(t, `\setup`)
	setup[1] = 1
	f.put(t, "Boot0005", setup)
	f.put(t, "BootOrder", []byte{4, 0, 2, 0, 9, 0, 1, 0, 5, 0})
	list, err := InOrder(newVariables(f))
	if got := fmt.Sprint(list); err != nil || got != `[Boot0004 "\\c.efi" Boot0001 "\\a.efi"]` {
		t.Errorf("%s, %v", got, err)
	}
	if got := OrderText(newVariables(newFolder(t))); got != "empty" {
		t.Errorf("OrderText without one = %s", got)
	}
	want := `Boot0004 "\\c.efi", Boot0002 "\\off.efi", Boot0009, Boot0001, Boot0005`
	if got := OrderText(newVariables(f)); got != want {
		t.Errorf("OrderText = %s, want %s", got, want)
	}
}

func TestIsNetwork(t *testing.T) {
	mac, ip := Node{Type: 3, SubType: 11, Data: make([]byte, 33)}, Node{Type: 3, SubType: 12, Data: make([]byte, 23)}
	for name, c := range map[string]struct {
		path []Node
		want bool
	}{
		"PXE":  {[]Node{{Type: 1, SubType: 1}, mac, ip}, true},
		"HTTP": {[]Node{mac, {Type: 3, SubType: 24}}, true},
		"USB":  {[]Node{{Type: 1, SubType: 1}, {Type: 3, SubType: 5, Data: []byte{1, 0}}}, false},
		"disk": {[]Node{HardDrive{GUID: GUID{1}}.Node(), FilePath(`\a.efi`)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (&LoadOption{Path: c.path}).IsNetwork(); got != c.want {
				t.Errorf("IsNetwork = %v", got)
			}
		})
	}
}

// An entry that is there and that BootOrder does not name is added to it, as the last.
func TestEnsureEntryAddsToOrder(t *testing.T) {
	f := newFolder(t)
	f.put(t, "Boot0005", windowsOption(t))
	f.put(t, "BootOrder", []byte{7, 0, 8, 0})
	n, created, err := EnsureEntry(newVariables(f), testEntry(t))
	if n != 5 || created || err != nil || f.content(t)["BootOrder"+suffix] != "\x07\x00\x00\x00\x07\x00\x08\x00\x05\x00" {
		t.Errorf("EnsureEntry = %d, %v, %v, order %q", n, created, err, f.content(t)["BootOrder"+suffix])
	}
	f.put(t, "BootOrder", []byte{7, 0})
	f.refuse["BootOrder"] = unix.ENOSPC
	if n, _, err := EnsureEntry(newVariables(f), testEntry(t)); n != 5 || !errors.Is(err, ErrOrder) || !errors.Is(err, ErrRefused) {
		t.Errorf("the order is refused: %d, %v", n, err)
	}
}
