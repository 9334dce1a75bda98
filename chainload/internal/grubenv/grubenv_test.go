package grubenv

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestSetGet(t *testing.T) {
	b := New()
	for _, c := range [][2]string{{Next, Windows}, {"other", ""}, {Next, ""}, {Next, "b"}} {
		var err error
		if b, err = Set(b, c[0], c[1]); err != nil || len(b) != Size {
			t.Fatal(err, len(b))
		}
		if got, err := Get(b, c[0]); err != nil || got != c[1] {
			t.Errorf("%s reads %q, %v", c[0], got, err)
		}
	}
	if !bytes.HasPrefix(b, []byte("# GRUB Environment Block\nnext_entry=b\nother=\n###")) {
		t.Errorf("block %q", b)
	}
}

// Of a variable that is set twice GRUB takes the last one; Set leaves one.
func TestSetTwice(t *testing.T) {
	b := append([]byte(signature+"a=1\nb=2\na=3\n"), bytes.Repeat([]byte{'#'}, Size-len(signature)-12)...)
	if got, err := Get(b, "a"); err != nil || got != "3" {
		t.Errorf("a reads %q, %v", got, err)
	}
	b, err := Set(b, "a", "4")
	if want := signature + "a=4\nb=2\n#"; err != nil || !strings.HasPrefix(string(b), want) {
		t.Errorf("%v; block %q", err, b)
	}
}

func TestCorrupt(t *testing.T) {
	for name, b := range map[string][]byte{"empty": nil, "short": New()[:1023], "long": append(New(), '#'), "signature": bytes.Repeat([]byte{'#'}, Size),
		"no end of line": append([]byte(signature+"a=b"), bytes.Repeat([]byte{'#'}, Size-len(signature)-3)...)} {
		if _, err := Get(b, Next); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range [][2]string{{"a=b", ""}, {"a", "b\nc"}, {"a", "#"}, {"a", strings.Repeat("x", Size)}} {
		if _, err := Set(New(), c[0], c[1]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: %v", c, err)
		}
	}
}

func FuzzSet(f *testing.F) {
	seed, err := Set(New(), Next, Windows)
	if err != nil || len(seed) == 0 {
		f.Fatal("no seed", err)
	}
	f.Add(seed, "b")
	f.Fuzz(func(t *testing.T, block []byte, value string) {
		b, err := Set(block, Next, value)
		if err != nil {
			return
		}
		if got, err := Get(b, Next); err != nil || got != value || len(b) != Size {
			t.Errorf("%q reads %q, %v", value, got, err)
		}
	})
}
